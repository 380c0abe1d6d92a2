"""A Retry-After keeps its word over real sockets: who returns when told gets in, and impatience is vain."""

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

PLACES, DOCK, BURST = 3, 6, 12
FIELDS = ("Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One with three places in the queue, six in the dock, and tokens that hardly ever come back.

    Its one worker makes each job whole, so that jobs end in the order in which they began.
    """
    settings = {"queue_size": PLACES, "max_receiving": DOCK, "rate": 0.02, "burst": BURST}
    settings |= {"workers": 1, "brownout": "off"}
    with serving(tmp_path_factory.mktemp("turns"), **settings) as service:
        yield service


@contextmanager
def full(service: Service) -> Iterator[list[httpx.Response]]:
    """The queue full and its workers stopped; gives the answers to those who wait there."""
    with service.paused():
        answers = [service.upload() for _ in range(PLACES)]
        assert [answer.status_code for answer in answers] == [202] * PLACES
        yield answers
    service.settled()


def photo(number: int) -> bytes:
    """A small photo of a length of its own: what follows the end of a JPEG is nobody's."""
    return SMALL + bytes(number)


def told(answer: httpx.Response) -> float:
    """The seconds that a refusal by the queue tells, since it came."""
    document = problem(answer, 503, REDUCED_CAPACITY, guard="queue")
    assert document["retry_after_ms"] == 1000 * int(answer.headers["retry-after"])
    return float(answer.headers["retry-after"])


def wait_as_told(seconds: float) -> None:
    """Do what a Retry-After asks for."""
    time.sleep(seconds)


def refused(service: Service) -> int:
    """How many uploads the queue has refused so far."""
    return int(service.stats()["refusals"]["queue"])


def remove(service: Service, answer: httpx.Response) -> None:
    """Take a job out of the queue, so that its place comes free."""
    token = {"authorization": f"Bearer {answer.json()['delete_token']}"}
    with service.client() as client:
        assert client.delete(answer.headers["location"], headers=token).status_code == 204


def knock(service: Service, stack: ExitStack) -> Connection:
    """A client that was refused returns when told, sends the head of its upload and hears nothing yet."""
    address = fresh_address()
    wait_as_told(told(service.upload(address=address)))
    before = service.stats()["backlog"]["parked"]
    connection = stack.enter_context(service.connect(address))
    connection.head("POST /v1/images", *FIELDS)
    until(lambda: service.stats()["backlog"]["parked"] == before + 1, "a client at the door")
    return connection


class TestPromise:
    """Refused clients return when told."""

    def test_all_get_in_at_their_first_return(self, service: Service) -> None:
        """Whatever they are made of: httpx, or curl that does as Retry-After says."""
        before = service.settled()
        addresses = [fresh_address() for _ in range(8)]
        curls = []
        with full(service):
            delays = [told(service.upload(address=address)) for address in addresses[:5]]
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

        def returns(address: str, delay: float) -> int:
            wait_as_told(delay)
            return service.upload(address=address).status_code

        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(returns, addresses[:5], delays)) == [202] * 5
        for process in curls:
            assert process.stdout is not None
            assert process.stdout.read()[-3:] == b"202"
            process.stdout.close()
            assert process.wait() == 0
        after = service.settled()
        assert refused(service) == before["refusals"]["queue"] + 8
        assert after["backlog"]["outstanding"] == 0

    def test_impatience_gains_nothing(self, service: Service) -> None:
        """Who asks again early is told the same moment, pays for it, and is no sooner in than the others."""
        address = fresh_address()
        with full(service):
            began = time.monotonic()
            first = told(service.upload(address=address))
            patient = told(service.upload())
            again = [service.upload(address=address) for _ in range(3)]
            waited = time.monotonic() - began
            for answer in again:
                assert first - waited <= told(answer) <= first
            assert limits(again[-1].headers)[1]["ip"]["r"] == BURST - 4
            assert first <= patient
        with service.client(address) as client:
            assert client.get("/v1/quota").json()["remaining"] == BURST - 4

    def test_hammering_ends_in_429(self, service: Service) -> None:
        """Each early return is a token, and without any the bucket refuses, not the queue."""
        address = fresh_address()
        with full(service):
            answers = [service.upload(address=address) for _ in range(BURST + 1)]
            # Its last token went early, so its turn moved to where there is another.
            assert told(answers[-2]) >= 49
            problem(answers[-1], 429, QUOTA_EXCEEDED, guard="rate")

    def test_ten_photos_of_one_client_return_untaxed(self, service: Service) -> None:
        """An album refused with ten turns gets in with ten returns, though its tokens are gone."""
        address = fresh_address()
        with full(service):
            delays = [told(service.upload(photo(n), address=address)) for n in range(1, 11)]
            began = time.monotonic()
            with service.client(address) as client:
                for _ in range(BURST - 10):
                    assert client.post("/v1/images").status_code == 415
                problem(client.post("/v1/images"), 429, QUOTA_EXCEEDED, guard="rate")
        for number, delay in enumerate(delays, 1):
            wait_as_told(max(0.0, began + delay - time.monotonic()))
            answer = service.upload(photo(number), address=address)
            assert answer.status_code == 202, answer.text
            assert limits(answer.headers)[1]["ip"]["r"] == 0
        problem(service.upload(photo(50), address=address), 429, QUOTA_EXCEEDED, guard="rate")

    def test_who_is_due_pays_nothing_once(self, service: Service) -> None:
        """A returner whose request is refused for another reason pays for its next one as others do."""
        address = fresh_address()
        with full(service):
            delay = told(service.upload(address=address))
        wait_as_told(delay)
        with service.client(address) as client:
            for left in (BURST - 1, BURST - 2):
                problem(
                    client.post("/v1/images", content=SMALL, headers={"content-type": "text/plain"}),
                    415,
                    "unsupported-media-type",
                )
                assert client.get("/v1/quota").json()["remaining"] == left

    def test_the_dock_is_open_while_nobody_is_promised_a_place(self, service: Service) -> None:
        """Six uploads on their way in at once, though three may wait: the seventh is refused."""
        service.settled()
        with ExitStack() as stack:
            for _ in range(DOCK):
                connection = stack.enter_context(service.connect())
                connection.head("POST /v1/images", *FIELDS)
            until(lambda: service.stats()["backlog"]["receiving"] == DOCK, "a full dock")
            told(service.upload())
        service.settled()


class TestDoor:
    """Who returns when told finds the queue full all the same, and waits."""

    def test_a_place_that_comes_free_goes_to_who_has_waited_longest(self, service: Service) -> None:
        """Unread until then; the one behind it waits on, and a newcomer is refused."""
        with full(service) as waiting, ExitStack() as stack:
            first, second = knock(service, stack), knock(service, stack)
            assert first.is_silent(0.1)
            remove(service, waiting[0])
            told(service.upload())
            first.send(SMALL)
            assert first.answer().status == 202
            assert service.stats()["backlog"]["parked"] == 1
            assert second.is_silent(0.1)
            remove(service, waiting[1])
            second.send(SMALL)
            assert second.answer().status == 202

    def test_a_lenient_client_that_returns_waits_for_its_place(self, service: Service) -> None:
        """It was content with a preview; but then it was promised a place, and gets that and no preview."""
        address, lenient = fresh_address(), "handling=lenient"
        with full(service) as answers, ExitStack() as stack:
            preview = service.upload(address=address, prefer=lenient)
            assert preview.status_code == 200
            wait_as_told(float(preview.headers["retry-after"]))
            connection = stack.enter_context(service.connect(address))
            connection.head("POST /v1/images", *FIELDS, f"Prefer: {lenient}")
            until(lambda: service.stats()["backlog"]["parked"] == 1, "a client at the door")
            remove(service, answers[0])
            connection.send(SMALL)
            assert connection.answer().status == 202

    def test_a_client_that_leaves_the_door_frees_its_place(self, service: Service) -> None:
        """It is noticed though its body is unread, and the place goes to the next."""
        with full(service) as waiting, ExitStack() as stack:
            gone, patient = knock(service, stack), knock(service, stack)
            gone.socket.close()
            until(lambda: service.stats()["backlog"]["parked"] == 1, "the departure to be noticed")
            remove(service, waiting[0])
            patient.send(SMALL)
            assert patient.answer().status == 202
        assert service.settled()["backlog"]["parked"] == 0


class TestFairness:
    """Jobs leave the queue round robin over clients."""

    def test_one_photo_does_not_wait_behind_a_client_with_many(self, service: Service) -> None:
        """Its position says so, and a worker has taken it before the other client's second photo.

        When jobs end says nothing of that: outcomes are written side by side, and may overtake each other.
        """
        many = fresh_address()
        long = samples.png(
            3000, 2000, compress_level=1
        )  # keeps the worker busy while the light one is looked at
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
    """Uploads whose client waited for the answer and went away before it had one."""

    @pytest.mark.parametrize("key", [False, True])
    def test_what_nobody_was_promised_is_dropped(self, service: Service, key: bool) -> None:
        """Its files are removed and it counts as cancelled; with a key to ask again by it is done."""
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

    def test_a_promise_outlives_a_restart(self, tmp_path: Path) -> None:
        """Told while draining, kept by the next process; who returns then pays no token."""
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
            wait_as_told(max(0.0, due - time.monotonic()))
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
