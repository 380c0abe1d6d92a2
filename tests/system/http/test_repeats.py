"""Idempotency-Key: an upload that is sent again stands for the same job, and nothing else does."""

import itertools
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import samples
from tests.service import SMALL, Connection, Service, fresh_address, serving, until
from tests.system.http.expect import QUOTA_EXCEEDED, REDUCED_CAPACITY, limits, problem

OTHER = samples.jpeg(65, 48)
_numbers = itertools.count()


def fresh_key() -> str:
    """A key that no test has used."""
    return f'"key {next(_numbers)}"'


def send(service: Service, key: str, address: str, data: bytes = SMALL, **headers: str) -> httpx.Response:
    """An upload under a key."""
    return service.upload(data, address=address, **{"idempotency-key": key, **headers})


def begun(service: Service, key: str, address: str) -> Connection:
    """An upload under a key, of which all but the last byte has arrived."""
    before = service.stats()["backlog"]["receiving"]
    connection = service.connect(address)
    connection.head(
        "POST /v1/images",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(SMALL)}",
        f"Idempotency-Key: {key}",
    )
    connection.send(SMALL[:-1])
    until(lambda: service.stats()["backlog"]["receiving"] == before + 1, "the upload to begin")
    return connection


class TestSameAgain:
    """The same file under the same key."""

    def test_is_the_same_job_while_that_waits(self, service: Service) -> None:
        """202 and the same document with its delete token; a token is spent, but no slot and no disk."""
        key, address = fresh_key(), fresh_address()
        with service.paused():
            first = send(service, key, address)
            before, files = service.stats(), service.stored()
            again = send(service, key, address)
            after = service.stats()
            assert service.stored() == files
        assert (first.status_code, again.status_code) == (202, 202)
        assert again.headers["location"] == first.headers["location"]
        for name in ("id", "status", "position", "created_at", "delete_token"):
            assert again.json()[name] == first.json()[name], name
        assert after["jobs"]["accepted"] == before["jobs"]["accepted"]
        assert after["backlog"]["waiting"] == before["backlog"]["waiting"] == 1
        assert limits(again.headers)[1]["ip"]["r"] == limits(first.headers)[1]["ip"]["r"] - 1

    def test_is_the_same_job_when_that_is_done(self, service: Service) -> None:
        """201 with the finished document, waiting or not, as a form too: the file is what counts."""
        key, address = fresh_key(), fresh_address()
        first = send(service, key, address, prefer="wait=20")
        assert first.status_code == 201
        again = send(service, key, address)
        with service.client(address) as client:
            form = client.post("/v1/images", files={"file": SMALL}, headers={"idempotency-key": key})
        waited = send(service, key, address, prefer="wait=20")
        assert waited.headers["preference-applied"] == "wait=20"
        for answer in (again, form, waited):
            assert answer.status_code == 201
            assert answer.json() == first.json()

    def test_can_wait_like_the_first(self, service: Service) -> None:
        """`Prefer: wait` on the repeat holds it until the job is done."""
        key, address = fresh_key(), fresh_address()
        with ThreadPoolExecutor(1) as thread:
            with service.paused():
                first = send(service, key, address)
                waited = thread.submit(send, service, key, address, prefer="wait=20")
                until(lambda: service.stats()["backlog"]["waiting"] == 1, "the job to wait")
            assert waited.result().status_code == 201
        assert waited.result().json()["id"] == first.json()["id"]

    def test_has_the_failure_of_the_job(self, service: Service) -> None:
        """A failed job's repeat gets the failed job's own status."""
        key, address = fresh_key(), fresh_address()
        broken = SMALL[:300]
        first = problem(send(service, key, address, broken, prefer="wait=20"), 422, "undecodable")
        again = problem(send(service, key, address, broken, prefer="wait=20"), 422, "undecodable")
        assert again["job"] == first["job"]

    def test_is_another_job_for_another_client(self, service: Service) -> None:
        """A key has a meaning only for the client that chose it."""
        key = fresh_key()
        first, other = (send(service, key, fresh_address()).json() for _ in range(2))
        assert first["id"] != other["id"]

    def test_passes_a_full_queue(self, tmp_path: Path) -> None:
        """It needs no receiving slot, only a token. Newcomers get 503."""
        key, address, done = fresh_key(), fresh_address(), fresh_key()
        with ExitStack() as stack:
            limits = {"queue_size": 1, "max_receiving": 1, "client_share": 1, "brownout": "off"}
            service = stack.enter_context(serving(tmp_path, **limits))
            finished = send(service, done, address, prefer="wait=20").json()
            stack.enter_context(service.paused())
            first = send(service, key, address)
            assert first.status_code == 202
            assert send(service, done, address).json() == finished
            problem(service.upload(), 503, REDUCED_CAPACITY, guard="queue")
            again = send(service, key, address)
            assert again.status_code == 202
            assert again.json()["id"] == first.json()["id"]
            last = until(
                lambda: (a := send(service, key, address)).status_code != 202 and a, "an empty bucket"
            )
            problem(last, 429, QUOTA_EXCEEDED, guard="rate")


class TestNotTheSame:
    """Something else under a key that was used."""

    def test_another_file(self, service: Service) -> None:
        """422, and the job of the key is what it was."""
        key, address = fresh_key(), fresh_address()
        first = send(service, key, address, prefer="wait=20").json()
        files = service.stored()
        problem(send(service, key, address, OTHER), 422, "repeat-differs")
        assert service.stored() == files
        assert service.get(first["links"]["self"]).json()["id"] == first["id"]

    def test_other_variants(self, service: Service) -> None:
        """422; the same ones are the same in any order, and all of them are the same as none named."""
        key, address = fresh_key(), fresh_address()

        def asking(names: str, key: str = key) -> Any:
            with service.client(address) as client:
                fields = {"content-type": "image/jpeg", "idempotency-key": key}
                return client.post(f"/v1/images?variants={names}", content=SMALL, headers=fields)

        first = asking("thumb,small")
        assert first.status_code == 202
        assert asking("small,thumb").json()["id"] == first.json()["id"]
        problem(asking("thumb"), 422, "repeat-differs")
        problem(send(service, key, address), 422, "repeat-differs")
        whole = fresh_key()
        every = asking("large,medium,small,thumb", whole)
        assert send(service, whole, address).json()["id"] == every.json()["id"]

    def test_another_reference(self, service: Service) -> None:
        """422, before the body is read; another name of the file is no difference, and the first stays."""
        key, address = fresh_key(), fresh_address()

        def referring(query: str, name: str) -> Any:
            with service.client(address) as client:
                fields = {"idempotency-key": key, "prefer": "wait=20"}
                return client.post(f"/v1/images{query}", files={"file": (name, SMALL)}, headers=fields)

        first = referring("?reference=order%207", "a.jpg")
        assert first.status_code == 201
        assert referring("?reference=order+7", "b.jpg").json() == first.json()
        problem(referring("?reference=order+8", "a.jpg"), 422, "repeat-differs")
        problem(referring("", "a.jpg"), 422, "repeat-differs")
        with service.connect(address) as connection:
            fields = ("Content-Type: image/jpeg", "Content-Length: 1000", f"Idempotency-Key: {key}")
            connection.head("POST /v1/images?reference=order+8", *fields)
            problem(connection.answer(), 422, "repeat-differs")

    def test_limits_of_an_upload_are_those_of_a_repeat(self, service: Service) -> None:
        """Too large, no image, no form: the same refusals as for a first upload."""
        key, address = fresh_key(), fresh_address()
        assert send(service, key, address).status_code == 202
        problem(send(service, key, address, SMALL + bytes(2 * 2**20)), 413, "too-large")
        problem(send(service, key, address, b"t" * len(SMALL)), 415, "unsupported-media-type")
        problem(send(service, key, address, **{"content-type": "text/plain"}), 415, "unsupported-media-type")


class TestOnItsWay:
    """The first upload is still being received."""

    def test_a_second_is_refused(self, service: Service) -> None:
        """409, its body unread; the first is answered, and after that the second is its repeat."""
        key, address = fresh_key(), fresh_address()
        with begun(service, key, address) as first:
            assert service.stats()["repeats"]["arriving"] == 1
            problem(send(service, key, address), 409, "repeat-too-soon")
            first.send(SMALL[-1:])
            answer = first.answer()
        assert answer.status == 202
        assert send(service, key, address).json()["id"] == answer.json()["id"]

    def test_a_broken_one_frees_its_key(self, service: Service) -> None:
        """A client whose connection broke half way sends it again, as the first upload."""
        key, address = fresh_key(), fresh_address()
        begun(service, key, address).close()
        until(lambda: service.stats()["backlog"]["receiving"] == 0, "the disconnect to be noticed")
        assert send(service, key, address, OTHER).status_code == 202

    def test_a_refused_one_frees_its_key(self, service: Service) -> None:
        """At once: what was no image has no job."""
        key, address = fresh_key(), fresh_address()
        problem(send(service, key, address, b"text" * 300), 415, "unsupported-media-type")
        assert send(service, key, address).status_code == 202

    def test_of_many_at_once_one_is_first(self, service: Service) -> None:
        """Eight at the same moment make one job; the others are answered with it, or with 409."""
        key, address = fresh_key(), fresh_address()
        before = service.settled()["jobs"]["accepted"]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: send(service, key, address), range(8)))
        taken = [answer for answer in answers if answer.status_code in (201, 202)]
        assert len({answer.json()["id"] for answer in taken}) == 1
        assert {answer.status_code for answer in answers} <= {201, 202, 409}
        assert service.settled()["jobs"]["accepted"] == before + 1


class TestReading:
    """The bodies of repeats."""

    @staticmethod
    def being_read(service: Service, key: str, address: str) -> Connection:
        """A repeat whose body is being read."""
        connection = service.connect(address)
        connection.head(
            "POST /v1/images",
            "Content-Type: image/jpeg",
            f"Content-Length: {len(SMALL)}",
            f"Idempotency-Key: {key}",
            "Expect: 100-continue",
        )
        assert connection.interim() == 100
        return connection

    def test_eight_are_read_at_once(self, service: Service) -> None:
        """The ninth gets 503 with Retry-After, and none of them is on disk or holds a slot."""
        clients = [(fresh_key(), fresh_address()) for _ in range(5)]
        for key, address in clients:
            assert send(service, key, address, prefer="wait=20").status_code == 201
        files, before = service.stored(), service.stats()["refusals"]["repeats"]
        with ExitStack() as stack:
            connections = [
                stack.enter_context(self.being_read(service, key, address))
                for key, address in clients[:4]
                for _ in range(2)
            ]
            stats = service.stats()
            assert stats["repeats"] == {"arriving": 0, "reading": 8, "capacity": 8}
            assert (stats["backlog"]["receiving"], service.stored()) == (0, files)
            problem(send(service, *clients[4]), 503, REDUCED_CAPACITY, guard="repeats")
            for connection in connections:
                connection.send(SMALL)
                assert connection.answer().status == 201
        assert service.stats()["refusals"]["repeats"] == before + 1
        assert send(service, *clients[4]).status_code == 201

    def test_two_of_one_client_are_read_at_once(self, service: Service) -> None:
        """So one client that sends its bytes slowly does not keep others from repeating."""
        key, address = fresh_key(), fresh_address()
        other = fresh_key(), fresh_address()
        for each in ((key, address), other):
            assert send(service, *each, prefer="wait=20").status_code == 201
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(self.being_read(service, key, address))
            problem(send(service, key, address), 503, REDUCED_CAPACITY, guard="repeats")
            assert send(service, *other).status_code == 201
        until(lambda: service.stats()["repeats"]["reading"] == 0, "the clients' leaving to be noticed")
        assert send(service, key, address).status_code == 201

    @pytest.mark.parametrize(
        ("content_type", "length"),
        [
            ("image/jpeg", len(SMALL) + 1),
            ("image/jpeg", len(SMALL) - 1),
            ("multipart/form-data; boundary=a", len(SMALL) - 1),
        ],
    )
    def test_another_length_is_another_file(self, service: Service, content_type: str, length: int) -> None:
        """422 by the head alone: nothing of the body is read."""
        key, address = fresh_key(), fresh_address()
        assert send(service, key, address).status_code == 202
        with service.connect(address) as connection:
            connection.head(
                "POST /v1/images",
                f"Content-Type: {content_type}",
                f"Content-Length: {length}",
                f"Idempotency-Key: {key}",
                "Expect: 100-continue",
            )
            problem(connection.answer(), 422, "repeat-differs")


class TestKey:
    """The header itself."""

    @pytest.mark.parametrize(
        "value", ["", '""', '"open', '"a"b', "a b", "a,b", '"' + "a" * 256 + '"', "a" * 256]
    )
    def test_malformed(self, service: Service, value: str) -> None:
        """400, and nothing is stored."""
        answer = service.upload(**{"idempotency-key": value})
        assert "Idempotency-Key" in problem(answer, 400, "bad-request")["detail"]

    def test_twice(self, service: Service) -> None:
        """Two keys are a malformed one."""
        with service.connect() as connection:
            length = f"Content-Length: {len(SMALL)}"
            keys = ("Idempotency-Key: a", "Idempotency-Key: b")
            connection.head("POST /v1/images", "Content-Type: image/jpeg", length, *keys)
            connection.send(SMALL)
            problem(connection.answer(), 400, "bad-request")

    def test_bare_or_quoted_is_the_same(self, service: Service) -> None:
        """Many clients send it without the quotes; parameters are ignored."""
        address = fresh_address()
        ids = {send(service, key, address).json()["id"] for key in ("k-1_x", '"k-1_x"', '"k-1_x";v=1')}
        assert len(ids) == 1


class TestLife:
    """How long a key is remembered."""

    def test_outlives_kill_9(self, tmp_path: Path) -> None:
        """Of a job that waited, and of one that was done: the same id, the same token."""
        address, done, waiting = fresh_address(), fresh_key(), fresh_key()
        with serving(tmp_path) as service:
            first = send(service, done, address, prefer="wait=20").json()
            with service.paused():
                second = send(service, waiting, address).json()
                service.kill()
            service.start()
            assert send(service, done, address).json() == first
            again = send(service, waiting, address, prefer="wait=20").json()
            assert (again["id"], again["delete_token"]) == (second["id"], second["delete_token"])
            assert again["status"] == "done"
            problem(send(service, done, address, OTHER), 422, "repeat-differs")
            service.settled()
            assert service.stats()["jobs"]["accepted"] == 0

    def test_a_deleted_image_frees_its_key(self, service: Service) -> None:
        """Queued or done: afterwards the key may bring another file."""
        for prefer in ("wait=20", "handling=strict"):
            key, address = fresh_key(), fresh_address()
            with service.paused() if prefer != "wait=20" else ExitStack():
                document = send(service, key, address, prefer=prefer).json()
                with service.client() as client:
                    token = {"authorization": f"Bearer {document['delete_token']}"}
                    assert client.delete(document["links"]["self"], headers=token).status_code == 204
            fresh = send(service, key, address, OTHER, prefer="wait=20")
            assert fresh.status_code == 201
            assert fresh.json()["source"]["width"] == 65

    def test_an_expired_image_frees_its_key(self, tmp_path: Path) -> None:
        """As soon as it is gone, swept or not; nothing of the old one is left."""
        key, address = fresh_key(), fresh_address()
        with serving(tmp_path, retention="1s") as service:
            for data in (SMALL, OTHER, SMALL):
                document = send(service, key, address, data, prefer="wait=20").json()
                assert document["source"]["bytes"] == len(data)
                until(lambda: service.get(document["links"]["self"]).status == 404, "the end of its life")  # noqa: B023
            until(lambda: not service.stored(), "the sweep")
            until(lambda: service.stats()["store_bytes"] == 0, "the bytes to be given back")

    def test_a_drain_refuses_repeats_too(self, tmp_path: Path) -> None:
        """503 `draining`: the next process answers them."""
        key, address = fresh_key(), fresh_address()
        with serving(tmp_path) as service:
            with service.paused():
                assert send(service, key, address).status_code == 202
                service.signal(signal.SIGTERM)
                until(lambda: service.get("/readyz").status == 503, "the drain to begin")
                problem(send(service, key, address), 503, REDUCED_CAPACITY, guard="draining")
            assert service.wait() == 0
