"""Reservations over real sockets: a client that returns after its Retry-After is admitted, and no earlier."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests import samples
from tests.service import SMALL, Connection, Service, fresh_address, serving, until
from tests.system.http.expect import QUOTA_EXCEEDED, REDUCED_CAPACITY, limits, problem

QUEUE_SIZE, MAX_RECEIVING, BURST = 3, 6, 12
FIELDS = ("Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with three places in the queue, six receiving slots, and tokens that hardly ever come back.

    Its one worker makes each job whole, so that jobs end in the order in which they began.
    """
    settings = {"queue_size": QUEUE_SIZE, "max_receiving": MAX_RECEIVING, "rate": 0.02, "burst": BURST}
    settings |= {"workers": 1, "brownout": "off"}
    with serving(tmp_path_factory.mktemp("reservations"), **settings) as service:
        yield service


@contextmanager
def full(service: Service) -> Iterator[list[httpx.Response]]:
    """The queue is full and its workers are stopped; gives the answers to the uploads that wait there."""
    with service.paused():
        answers = [service.upload() for _ in range(QUEUE_SIZE)]
        assert [answer.status_code for answer in answers] == [202] * QUEUE_SIZE
        yield answers
    service.settled()


def photo(number: int) -> bytes:
    """A small photo with a length of its own: bytes after the end of a JPEG are ignored."""
    return SMALL + bytes(number)


def retry_after(answer: httpx.Response) -> float:
    """The Retry-After of a refusal by the queue, in seconds."""
    document = problem(answer, 503, REDUCED_CAPACITY, guard="queue")
    assert document["retry_after_ms"] == 1000 * int(answer.headers["retry-after"])
    return float(answer.headers["retry-after"])


def wait_for(seconds: float) -> None:
    """Wait for a Retry-After."""
    time.sleep(seconds)


def refused(service: Service) -> int:
    """How many uploads the queue has refused so far."""
    return int(service.stats()["refusals"]["queue"])


def remove(service: Service, answer: httpx.Response) -> None:
    """Delete a queued job, so that its place becomes free."""
    token = {"authorization": f"Bearer {answer.json()['delete_token']}"}
    with service.client() as client:
        assert client.delete(answer.headers["location"], headers=token).status_code == 204


def return_on_time(service: Service, stack: ExitStack) -> Connection:
    """A refused client that has returned on time, has sent the head of its upload, and has to wait."""
    address = fresh_address()
    wait_for(retry_after(service.upload(address=address)))
    before = service.stats()["backlog"]["parked"]
    connection = stack.enter_context(service.connect(address))
    connection.head("POST /v1/images", *FIELDS)
    until(lambda: service.stats()["backlog"]["parked"] == before + 1, "a client in the waiting room")
    return connection


class TestReturn:
    """Refused clients return after their Retry-After."""

    def test_all_are_admitted_at_their_first_return(self, service: Service) -> None:
        """Whatever client they use: httpx, or curl, which honours Retry-After by itself."""
        before = service.settled()
        addresses = [fresh_address() for _ in range(8)]
        curls = []
        with full(service):
            delays = [retry_after(service.upload(address=address)) for address in addresses[:5]]
            for address in addresses[5:]:
                command = ["curl", "--silent", "--show-error", "--retry", "5", "--interface", address]
                command += ["--data-binary", "@-", "-H", "Content-Type: image/jpeg"]
                command += ["-w", "%{http_code}", f"{service.url}/v1/images"]
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                assert process.stdin is not None
                process.stdin.write(SMALL)
                process.stdin.close()
                curls.append(process)
            until(lambda: refused(service) == before["refusals"]["queue"] + 8, "eight refusals")

        def come_back(address: str, delay: float) -> int:
            wait_for(delay)
            return service.upload(address=address).status_code

        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(come_back, addresses[:5], delays)) == [202] * 5
        for process in curls:
            assert process.stdout is not None
            assert process.stdout.read()[-3:] == b"202"
            process.stdout.close()
            assert process.wait() == 0
        after = service.settled()
        assert refused(service) == before["refusals"]["queue"] + 8
        assert after["backlog"]["outstanding"] == 0

    def test_impatience_gains_nothing(self, service: Service) -> None:
        """A client that asks again early gets the same moment, for a token, and is admitted no sooner."""
        address = fresh_address()
        with full(service):
            began = time.monotonic()
            first = retry_after(service.upload(address=address))
            patient = retry_after(service.upload())
            again = [service.upload(address=address) for _ in range(3)]
            waited = time.monotonic() - began
            for answer in again:
                assert first - waited <= retry_after(answer) <= first
            assert limits(again[-1].headers)[1]["ip"]["r"] == BURST - 4
            assert first <= patient
        with service.client(address) as client:
            assert client.get("/v1/quota").json()["remaining"] == BURST - 4

    def test_hammering_ends_in_429(self, service: Service) -> None:
        """Each early return costs a token; without any left the bucket refuses, not the queue."""
        address = fresh_address()
        with full(service):
            answers = [service.upload(address=address) for _ in range(BURST + 1)]
            # Its last token is spent, so its reservation has moved to the moment of the next one.
            assert retry_after(answers[-2]) >= 49
            problem(answers[-1], 429, QUOTA_EXCEEDED, guard="rate")

    def test_ten_photos_of_one_client_return_without_tokens(self, service: Service) -> None:
        """Ten photos with ten reservations are admitted at their returns, although the tokens are spent."""
        address, no_upload = fresh_address(), {"content-type": "text/plain"}
        with full(service):
            delays = [retry_after(service.upload(photo(n), address=address)) for n in range(1, 11)]
            began = time.monotonic()
            with service.client(address) as client:
                for _ in range(BURST - 10):
                    assert client.post("/v1/images", headers=no_upload).status_code == 415
                problem(client.post("/v1/images", headers=no_upload), 429, QUOTA_EXCEEDED, guard="rate")
        for number, delay in enumerate(delays, 1):
            wait_for(max(0.0, began + delay - time.monotonic()))
            answer = service.upload(photo(number), address=address)
            assert answer.status_code == 202, answer.text
            assert limits(answer.headers)[1]["ip"]["r"] == 0
        problem(service.upload(photo(50), address=address), 429, QUOTA_EXCEEDED, guard="rate")

    def test_a_due_upload_pays_no_token_once(self, service: Service) -> None:
        """If the upload is refused for another reason when it returns, the next one costs a token again."""
        address = fresh_address()
        with full(service):
            delay = retry_after(service.upload(address=address))
        wait_for(delay)
        with service.client(address) as client:
            for left in (BURST - 1, BURST - 2):
                problem(
                    client.post("/v1/images", content=SMALL, headers={"content-type": "text/plain"}),
                    415,
                    "unsupported-media-type",
                )
                assert client.get("/v1/quota").json()["remaining"] == left

    def test_all_slots_are_open_while_there_are_no_reservations(self, service: Service) -> None:
        """Six uploads are received at once, though the queue has three places: the seventh is refused."""
        service.settled()
        with ExitStack() as stack:
            for _ in range(MAX_RECEIVING):
                connection = stack.enter_context(service.connect())
                connection.head("POST /v1/images", *FIELDS)
            until(lambda: service.stats()["backlog"]["receiving"] == MAX_RECEIVING, "all slots to be taken")
            retry_after(service.upload())
        service.settled()


class TestWaitingRoom:
    """A client that returns on time finds the queue full all the same, and waits."""

    def test_a_free_slot_goes_to_the_client_that_has_waited_longest(self, service: Service) -> None:
        """Its body is unread until then; the next one goes on waiting, and a newcomer is refused."""
        with full(service) as waiting, ExitStack() as stack:
            first, second = return_on_time(service, stack), return_on_time(service, stack)
            assert first.is_silent(0.1)
            remove(service, waiting[0])
            retry_after(service.upload())
            first.send(SMALL)
            assert first.answer().status == 202
            assert service.stats()["backlog"]["parked"] == 1
            assert second.is_silent(0.1)
            remove(service, waiting[1])
            second.send(SMALL)
            assert second.answer().status == 202

    def test_a_lenient_client_that_returns_waits_for_its_slot(self, service: Service) -> None:
        """It got a preview at first, with a reservation, so now it is admitted and gets no preview."""
        address, lenient = fresh_address(), "handling=lenient"
        with full(service) as answers, ExitStack() as stack:
            preview = service.upload(address=address, prefer=lenient)
            assert preview.status_code == 200
            wait_for(float(preview.headers["retry-after"]))
            connection = stack.enter_context(service.connect(address))
            connection.head("POST /v1/images", *FIELDS, f"Prefer: {lenient}")
            until(lambda: service.stats()["backlog"]["parked"] == 1, "a client in the waiting room")
            remove(service, answers[0])
            connection.send(SMALL)
            assert connection.answer().status == 202

    def test_a_client_that_leaves_the_waiting_room_is_noticed(self, service: Service) -> None:
        """Although its body is unread; the slot goes to the next one."""
        with full(service) as waiting, ExitStack() as stack:
            gone, patient = return_on_time(service, stack), return_on_time(service, stack)
            gone.socket.close()
            until(lambda: service.stats()["backlog"]["parked"] == 1, "the disconnect to be noticed")
            remove(service, waiting[0])
            patient.send(SMALL)
            assert patient.answer().status == 202
        assert service.settled()["backlog"]["parked"] == 0


class TestFairness:
    """Jobs leave the queue round robin over clients."""

    def test_one_photo_does_not_wait_behind_a_client_with_many(self, service: Service) -> None:
        """Its position says so, and a worker has taken it before the other client's second photo.

        The order in which jobs end does not show it, since outcomes are written concurrently.
        """
        many = fresh_address()
        long = samples.png(
            3000, 2000, compress_level=1
        )  # keeps the worker busy while the other one is looked at
        with ExitStack() as stack:
            with service.paused():
                heavy = [service.upload(photo, address=many) for photo in (SMALL, long)]
                light = service.upload()
                assert light.json()["position"] == 2
                documents = [service.get(answer.headers["location"]).json() for answer in heavy]
                assert [document["position"] for document in documents] == [1, 3]
                second = stack.enter_context(service.connect())
                second.head(f"GET {heavy[1].json()['links']['events']}")
                events = second.lines()
                assert "event: queued" in events
            assert "event: processing" in events
            assert service.status_of(light.json()["id"]) in ("processing", "done")
        service.settled()


class TestAbandoned:
    """Uploads whose client left while it waited for the answer."""

    @pytest.mark.parametrize("key", [False, True])
    def test_a_job_that_was_never_answered_for_is_dropped(self, service: Service, key: bool) -> None:
        """Its files are removed and it counts as cancelled; with an Idempotency-Key it is done."""
        before = service.settled()
        files = service.stored()
        with service.paused(), service.connect() as connection:
            more = ["Prefer: wait=20", *["Idempotency-Key: k1"][: int(key)]]
            connection.head("POST /v1/images", *FIELDS, *more)
            connection.send(SMALL)
            until(lambda: service.stats()["backlog"]["waiting"] == 1, "the job to wait")
            connection.socket.shutdown(socket.SHUT_WR)
            assert connection.ends()
        after = service.settled()
        assert after["jobs"]["cancelled"] == before["jobs"]["cancelled"] + (not key)
        assert after["jobs"]["done"] == before["jobs"]["done"] + 1 + key
        kept = {name.split("/")[2] for name in service.stored() - files}
        assert len(kept) == 1 + key


class TestClosing:
    """A drain and a restart."""

    def test_a_reservation_outlives_a_restart(self, tmp_path: Path) -> None:
        """Made while the service drains, and honoured by the next process without a token."""
        address = fresh_address()
        with serving(tmp_path, drain_timeout=4, burst=3, rate=0.02) as service:
            with service.paused():
                service.signal(15)
                until(lambda: service.get("/readyz").status == 503, "the drain to begin")
                answer = service.upload(address=address)
                problem(answer, 503, REDUCED_CAPACITY, guard="draining")
                due = time.monotonic() + int(answer.headers["retry-after"])
            assert int(answer.headers["retry-after"]) == 4
            assert service.wait() == 0
            note = service.store / "note"
            assert note.stat().st_mode & 0o777 == 0o600
            assert json.loads(note.read_bytes())["turns"]["turns"]
            service.start()
            assert not note.exists()
            assert service.stats()["backlog"]["outstanding"] == 1
            wait_for(max(0.0, due - time.monotonic()))
            answer = service.upload(address=address)
            assert answer.status_code == 202
            assert limits(answer.headers)[1]["ip"]["r"] == 3

    def test_a_damaged_note_is_dropped(self, tmp_path: Path) -> None:
        """The service starts without what it cannot read, and says so."""
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "note").write_bytes(b'{"pacer":{"job_s":-1}')
        with serving(tmp_path) as service:
            assert service.stats()["backlog"]["outstanding"] == 0
            assert "reservations of the previous run are lost" in service.errors()
