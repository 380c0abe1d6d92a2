"""The refusals of the guards: at once, with the body unread."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest

from app.uploads.file_sink import ACCEPT
from tests.service import SMALL, Answer, Connection, Service, fresh_address, until
from tests.system.http.conftest import ORIGIN
from tests.system.http.expect import QUOTA_EXCEEDED, REDUCED_CAPACITY, limits, problem
from workers.formats import SOURCE_NAMES

MUCH = 8 * 2**20
"""A Content-Length that is accepted, and much more than any buffer holds."""


def exhaust(service: Service, address: str) -> httpx.Response:
    """Spend all tokens of a client; returns the refusal that follows."""
    with service.client(address) as client:
        while (
            answer := client.post("/v1/images", headers={"content-type": "text/plain"})
        ).status_code == 415:
            pass
    assert answer.status_code == 429
    return answer


def ask(connection: Connection, length: int = MUCH, *fields: str) -> None:
    """Send the head of an upload, and nothing of its body."""
    connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {length}", *fields)


def refusal(service: Service, address: str | None = None, *fields: str) -> Answer:
    """The answer to the head of an upload, without a body."""
    with service.connect(address) as connection:
        ask(connection, MUCH, *fields)
        answer = connection.answer()
        assert connection.ends()
        return answer


def alone_and_behind(service: Service, address: str, kind: str) -> tuple[Answer, Answer]:
    """The answers to an upload of a media type: first on a connection, and behind another request."""
    upload = f"POST /v1/images HTTP/1.1\r\nHost: a\r\nOrigin: {ORIGIN}\r\nContent-Type: {kind}\r\n"
    upload += "Content-Length: 0\r\n\r\n"
    with service.connect(address) as connection:
        connection.send(f"{upload}GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n{upload}".encode())
        first, between, second = (connection.answer() for _ in range(3))
    assert between.status == 200
    return first, second


def alike(answers: tuple[Answer, Answer], status: int, kind: str, guard: str | None = None) -> list[Any]:
    """The documents of two refusals, which differ in nothing but what the clock, or a token, changes."""
    documents = [problem(answer, status, kind, guard=guard) for answer in answers]
    assert [*documents[0]] == [*documents[1]]
    varying = {"date", "retry-after", "ratelimit", "content-length", "x-request-id"}
    first, second = ({n: v for n, v in a.headers.items() if n not in varying} for a in answers)
    assert first == second
    assert set(answers[0].headers) == set(answers[1].headers)
    for name in ("type", "title", "status", "guard"):
        assert documents[0].get(name) == documents[1].get(name)
    return documents


@contextmanager
def arriving(service: Service, count: int, address: str | None = None) -> Iterator[list[Connection]]:
    """A number of uploads on their way in, each with its first byte sent."""
    with ExitStack() as stack:
        before = service.stats()["backlog"]["receiving"]
        connections = [stack.enter_context(service.connect(address)) for _ in range(count)]
        for connection in connections:
            ask(connection, len(SMALL))
            connection.send(SMALL[:1])
        until(lambda: service.stats()["backlog"]["receiving"] == before + count, "uploads to arrive")
        yield connections
    until(lambda: service.stats()["backlog"]["receiving"] == before, "slots to be given back")


@contextmanager
def full_queue(service: Service) -> Iterator[list[str]]:
    """The queue is full of waiting jobs, whose ids are given; at the end the workers go on with them."""
    with service.paused():
        answers = [service.upload() for _ in range(service.stats()["backlog"]["capacity"])]
        assert [answer.status_code for answer in answers] == [202] * len(answers)
        yield [answer.json()["id"] for answer in answers]
    service.settled()


class TestRate:
    """Guard 1: a client's own bucket."""

    def test_answers_the_head_alone(self, tight: Service) -> None:
        """A client without tokens is refused when its head has arrived, with none of its body sent."""
        address = fresh_address()
        exhaust(tight, address)
        document = problem(refusal(tight, address), 429, QUOTA_EXCEEDED, guard="rate")
        assert document["violated-policies"] == ["ip"]

    def test_tells_the_time_of_the_next_token(self, tight: Service) -> None:
        """The policy is burst and window, the limit is 0, and Retry-After is the delay to the next token."""
        answer = exhaust(tight, fresh_address())
        document = problem(answer, 429, QUOTA_EXCEEDED, guard="rate")
        assert answer.headers["ratelimit-policy"] == '"ip";q=3;w=60'
        assert answer.headers["ratelimit"] == f'"ip";r=0;t={answer.headers["retry-after"]}'
        assert 19_000 < document["retry_after_ms"] <= 20_000

    def test_is_one_bucket_for_each_client(self, tight: Service) -> None:
        """One client's hammering costs another nothing."""
        exhaust(tight, fresh_address())
        assert tight.upload().status_code == 202
        tight.settled()

    def test_counts_every_request(self, tight: Service) -> None:
        """A refused request spends a token too, and the fields of accepted ones count down."""
        address = fresh_address()
        with tight.client(address) as client:
            first = client.post("/v1/images", content=SMALL, headers={"content-type": "image/jpeg"})
            assert first.status_code == 202
            _, limit = limits(first.headers)
            assert limit["ip"]["r"] == 2
            refused = client.post("/v1/images", headers={"content-type": "text/plain"})
            problem(refused, 415, "unsupported-media-type")
            assert client.get("/v1/quota").json()["remaining"] == 1
        tight.settled()

    def test_reading_the_quota_costs_nothing(self, tight: Service) -> None:
        """Only an upload spends a token, however often the quota is read."""
        with tight.client() as client:
            for _ in range(5):
                answer = client.get("/v1/quota")
                assert answer.json() == {
                    "policy": "ip",
                    "limit": 3,
                    "window_s": 60,
                    "remaining": 3,
                    "next_token_ms": 0,
                }
                assert limits(answer.headers)[1]["ip"] == {"r": 3, "t": 0}
                client.get("/v1/stats")
                client.get("/v1/images/" + "0" * 32)
                client.post("/v1/quota")

    def test_refuses_each_address_of_a_flood_alone(self, tight: Service) -> None:
        """The statistics count each refusal under its guard."""
        before = tight.stats()["refusals"]["rate"]
        exhaust(tight, fresh_address())
        assert tight.stats()["refusals"]["rate"] == before + 1

    def test_looks_the_same_wherever_it_was_refused(self, tight: Service) -> None:
        """Refused by its head alone, or behind another request by the dependency: field by field alike."""
        address = fresh_address()
        exhaust(tight, address)
        refusals = alone_and_behind(tight, address, "image/jpeg")
        for document in alike(refusals, 429, QUOTA_EXCEEDED, guard="rate"):
            assert document["violated-policies"] == ["ip"]

    def test_is_logged_once_a_second(self, tight: Service) -> None:
        """As a count, not as a line for each."""
        address = fresh_address()
        exhaust(tight, address)
        with tight.connect(address) as connection:
            for _ in range(50):
                ask(connection, 0)
                problem(connection.answer(), 429, QUOTA_EXCEEDED, guard="rate")
        until(lambda: "refused in the last second" in tight.errors(), "a line of the log")


class TestDeclared:
    """Guard 2: a declared length or type that can never be accepted."""

    def test_refuses_a_declared_length(self, service: Service) -> None:
        """More bytes than are accepted: 413 with the limit, before any of them is sent."""
        with service.connect() as connection:
            ask(connection, 2**20 + 1)
            answer = connection.answer()
        problem(answer, 413, "too-large")
        assert answer.headers["upload-limit"] == "max-size=1048576"

    def test_looks_the_same_wherever_it_was_refused(self, tight: Service) -> None:
        """First on a connection, or behind another request; either spends a token."""
        address = fresh_address()
        alike(alone_and_behind(tight, address, "text/plain"), 415, "unsupported-media-type")
        with tight.client(address) as client:
            assert client.get("/v1/quota").json()["remaining"] == 1

    def test_allows_for_the_form(self, service: Service) -> None:
        """A form may be 64 KiB longer than the file in it, and no more."""
        form = "Content-Type: multipart/form-data; boundary=x"
        for extra, refused in ((65_536, False), (65_537, True)):
            with service.connect() as connection:
                connection.head("POST /v1/images", form, f"Content-Length: {2**20 + extra}")
                assert connection.is_silent() is not refused
                if refused:
                    problem(connection.answer(), 413, "too-large")

    @pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/mixed", "imagejpeg"])
    def test_refuses_a_declared_type(self, service: Service, kind: str) -> None:
        """Neither a form nor an image: 415 says what may be sent."""
        with service.connect() as connection:
            connection.head("POST /v1/images", f"Content-Length: {MUCH}", f"Content-Type: {kind}")
            answer = connection.answer()
        detail = problem(answer, 415, "unsupported-media-type")["detail"]
        assert answer.headers["accept"] == ACCEPT
        assert kind in detail
        assert SOURCE_NAMES in detail

    @pytest.mark.parametrize("fields", [["gzip"], ["identity", "br, identity"]], ids=["gzip", "two lines"])
    def test_refuses_a_content_encoding(self, service: Service, fields: list[str]) -> None:
        """415 with Accept-Encoding (RFC 9110, 15.5.16) names it; `identity`, which is none, is taken."""
        with service.connect() as connection:
            ask(connection, MUCH, *(f"Content-Encoding: {each}" for each in fields))
            answer = connection.answer()
        detail = problem(answer, 415, "unsupported-coding")["detail"]
        assert fields[-1].partition(",")[0] in detail
        assert answer.headers["accept-encoding"] == "identity"
        assert "accept" not in answer.headers
        assert service.upload(**{"content-encoding": "Identity"}).status_code == 202

    def test_tells_who_uses_curl_how_to_send_a_photo(self, service: Service) -> None:
        """`curl -d` and `--data-binary` declare a form of another kind."""
        answer = service.upload(**{"content-type": "application/x-www-form-urlencoded"})
        detail = problem(answer, 415, "unsupported-media-type")["detail"]
        assert "-F file=@photo.jpg" in detail
        assert "-H 'Content-Type: image/jpeg'" in detail

    def test_comes_after_the_rate(self, tight: Service) -> None:
        """A client without tokens is not told about its type."""
        address = fresh_address()
        exhaust(tight, address)
        with tight.connect(address) as connection:
            connection.head("POST /v1/images", "Content-Length: 99999999999", "Content-Type: text/plain")
            problem(connection.answer(), 429, QUOTA_EXCEEDED, guard="rate")


class TestShare:
    """Guard 3: one client's part of the receiving slots and the queue."""

    def test_counts_uploads_on_their_way(self, tight: Service) -> None:
        """A client whose uploads have taken its share of slots is refused; another client is not."""
        address = fresh_address()
        with arriving(tight, 2, address):
            answer = refusal(tight, address)
            document = problem(answer, 429, QUOTA_EXCEEDED, guard="share")
            assert document["violated-policies"] == ["share"]
            policy, limit = limits(answer.headers)
            assert policy["share"] == {"q": 2, "qu": "concurrent-requests"}
            assert limit["ip"]["r"] == 0
            assert tight.upload().status_code == 202
        tight.settled()

    def test_counts_waiting_jobs(self, tight: Service) -> None:
        """A client whose jobs wait is refused though the queue is full as well: its share comes first."""
        address = fresh_address()
        with tight.paused():
            for _ in range(2):
                assert tight.upload(address=address).status_code == 202
            problem(refusal(tight, address), 429, QUOTA_EXCEEDED, guard="share")
        tight.settled()


class TestQueue:
    """Guard 5: the queue, and the receiving slots before it."""

    def test_refuses_when_full(self, tight: Service) -> None:
        """A full queue answers 503 to the head alone, with a delay and a policy of its own."""
        with full_queue(tight):
            answer = refusal(tight)
            document = problem(answer, 503, REDUCED_CAPACITY, guard="queue")
            assert document["violated-policies"] == ["queue"]
            policy, limit = limits(answer.headers)
            assert policy["queue"] == {"q": 2, "qu": "concurrent-requests"}
            assert limit["ip"]["r"] == 2

    def test_refuses_when_all_slots_are_taken(self, tight: Service) -> None:
        """By uploads on their way in; when one is abandoned, another is admitted."""
        tight.settled()
        with arriving(tight, 3):
            problem(refusal(tight), 503, REDUCED_CAPACITY, guard="queue")
        tight.settled()
        assert tight.upload().status_code == 202
        tight.settled()

    def test_never_comes_before_the_clients_next_token(self, tight: Service) -> None:
        """A client that has spent its last token is not told to return before it has another."""
        address = fresh_address()
        with full_queue(tight):
            answers = [refusal(tight, address) for _ in range(3)]
            for answer in answers:
                problem(answer, 503, REDUCED_CAPACITY, guard="queue")
            assert int(answers[-1].headers["retry-after"]) >= 19
            problem(refusal(tight, address), 429, QUOTA_EXCEEDED, guard="rate")

    def test_spreads_the_retry_times(self, tight: Service) -> None:
        """Refused clients are not all told the same moment, and no more of them than can be served then."""
        with full_queue(tight):
            rate = tight.stats()["backlog"]["drain_per_s"]
            count = (
                int(5 * rate) + 2
            )  # more than a second's worth, even if only one in four is expected to return
            told = [refusal(tight).json()["retry_after_ms"] for _ in range(count)]
        assert told == sorted(told)
        assert told[-1] > told[0]
        assert all(milliseconds % 1000 == 0 for milliseconds in told)

    def test_an_admitted_upload_is_never_refused_for_load(self, tight: Service) -> None:
        """An upload with a receiving slot is accepted although the queue has filled, ahead of newcomers."""
        with tight.paused(), arriving(tight, 1) as (connection,):
            for _ in range(2):
                assert tight.upload().status_code == 202
            problem(refusal(tight), 503, REDUCED_CAPACITY, guard="queue")
            connection.send(SMALL[1:])
            answer = connection.answer()
            assert answer.status == 202
            assert answer.json()["position"] == 3
            backlog = tight.stats()["backlog"]
            assert (backlog["waiting"], backlog["overflow"], backlog["capacity"]) == (2, 1, 2)
            metrics = tight.get("/metrics").body.decode()
            assert 'spillway_backlog_slots{state="waiting"} 2.0' in metrics
            assert 'spillway_backlog_slots{state="overflow"} 1.0' in metrics
            problem(refusal(tight), 503, REDUCED_CAPACITY, guard="queue")
        tight.settled()
        assert tight.status_of(answer.json()["id"]) == "done"

    def test_refuses_when_the_wait_is_too_long(self, brief: Service) -> None:
        """A queue with places left counts as full when its estimated wait passes MAX_WAIT."""
        brief.settled()
        with brief.paused():

            def refused() -> httpx.Response | None:
                answer = brief.upload()
                return answer if answer.status_code != 202 else None

            problem(until(refused, "a refusal"), 503, REDUCED_CAPACITY, guard="queue")
            backlog = brief.stats()["backlog"]
            assert backlog["estimated_wait_ms"] > 200
            assert backlog["waiting"] < backlog["capacity"]
        brief.settled()


class TestDisk:
    """Guard 6: bytes in the store."""

    def test_counts_what_uploads_may_become(self, brief: Service) -> None:
        """An upload that declares no length counts with the maximum until it is complete."""
        until(lambda: brief.stats()["store_bytes"] < 2**18, "the store to empty")
        with brief.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", "Transfer-Encoding: chunked")
            until(lambda: brief.stats()["backlog"]["receiving"] == 1, "the upload to arrive")
            with brief.connect() as other:
                ask(other, 2**20)
                problem(other.answer(), 507, "disk", guard="disk")
            assert brief.upload().status_code == 202
        until(lambda: brief.stats()["backlog"]["receiving"] == 0, "the slot to be given back")
        with brief.connect() as other:
            ask(other, 2**20)
            assert other.is_silent()


class TestWhoeverAsks:
    """Every kind of client sees its refusal."""

    def test_expects_no_continue(self, tight: Service) -> None:
        """`Expect: 100-continue` is refused with no 100 before it, and the connection is closed."""
        address = fresh_address()
        exhaust(tight, address)
        answer = refusal(tight, address, "Expect: 100-continue")
        problem(answer, 429, QUOTA_EXCEEDED, guard="rate")
        with full_queue(tight):
            problem(refusal(tight, None, "Expect: 100-continue"), 503, REDUCED_CAPACITY, guard="queue")

    def test_keeps_a_connection_with_a_small_body(self, tight: Service) -> None:
        """A small refused body is read and discarded, and the connection stays open."""
        address = fresh_address()
        exhaust(tight, address)
        with tight.connect(address) as connection:
            for _ in range(3):
                ask(connection, 60_000)
                connection.send(bytes(60_000))
                problem(connection.answer(), 429, QUOTA_EXCEEDED, guard="rate")
            connection.head("GET /healthz")
            assert connection.answer().status == 200

    def test_keeps_a_connection_without_a_body(self, tight: Service) -> None:
        """A refused upload without a body leaves the connection open."""
        address = fresh_address()
        exhaust(tight, address)
        with tight.connect(address) as connection:
            ask(connection, 0)
            problem(connection.answer(), 429, QUOTA_EXCEEDED, guard="rate")
            connection.head("GET /healthz")
            assert connection.answer().status == 200

    def test_answers_uploads_in_a_row(self, tight: Service) -> None:
        """Pipelined behind each other and behind other requests, they are answered in order."""
        address = fresh_address()
        exhaust(tight, address)
        small = b"POST /v1/images?variants=thumb HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET / HTT"
        read = b"GET /v1/quota HTTP/1.1\r\nHost: a\r\n\r\n"
        with tight.connect(address) as connection:
            connection.send(small + small + read + small + read + read + small + small)
            answers = [connection.answer().status for _ in range(8)]
            assert answers == [429, 429, 200, 429, 200, 200, 429, 429]
            assert connection.is_silent()

    @pytest.mark.parametrize(
        "head",
        [
            b"POST /v1/images HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
            b"POST /v1/images HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
            b"POST /v1/images HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ],
        ids=["asked to close", "old", "chunked"],
    )
    def test_ends_a_connection_that_cannot_continue(self, tight: Service, head: bytes) -> None:
        """The refusal says so, the body is discarded, and nothing behind it is taken for a request."""
        address = fresh_address()
        exhaust(tight, address)
        for first, then in ((b"bytesGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b""), (b"by", b"tes")):
            with tight.connect(address) as connection:
                connection.send(head + first)
                answer = connection.answer()
                problem(answer, 429, QUOTA_EXCEEDED, guard="rate")
                assert answer.headers["connection"] == "close"
                connection.send(then)
                assert connection.ends()

    def test_does_not_hold_answers_for_a_client_that_never_reads(self, tight: Service) -> None:
        """If it pipelines uploads and reads nothing, it is not read from either once the buffers are full."""
        address = fresh_address()
        exhaust(tight, address)
        upload = b"POST /v1/images HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" * 1000
        sent = 0
        with tight.connect(address) as connection:
            connection.socket.settimeout(0.5)
            with suppress(TimeoutError):
                while sent < 10**9:
                    sent += connection.socket.send(upload)
        assert sent < 32 * 2**20  # what the sockets' own buffers hold
        assert tight.get("/healthz").status == 200

    def test_can_be_read_by_pages(self, tight: Service) -> None:
        """Where CORS is on, a page may read a refusal and its fields."""
        address = fresh_address()
        exhaust(tight, address)
        answer = refusal(tight, address, f"Origin: {ORIGIN}")
        problem(answer, 429, QUOTA_EXCEEDED, guard="rate")
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = {
            name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")
        }
        assert exposed >= {"retry-after", "ratelimit", "ratelimit-policy", "upload-limit", "location"}
        assert "origin" in answer.headers["vary"].lower()

    def test_holds_nothing(self, tight: Service) -> None:
        """After every refusal no slot is taken, nothing waits and nothing is stored."""
        before = tight.settled()
        files = tight.stored()
        address = fresh_address()
        exhaust(tight, address)
        for fields in ((), ("Expect: 100-continue",)):
            refusal(tight, address, *fields)
        after = tight.stats()
        assert after["backlog"]["receiving"] == 0
        assert after["jobs"] == before["jobs"]
        assert tight.stored() == files
