"""Slow clients run into the service's timeouts. All of them start together, because each takes seconds."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from tests.service import SMALL, Answer, Connection, Service
from tests.system.http.expect import problem


@dataclass(frozen=True)
class Outcome:
    """The answer to a slow client, if there was one, and the seconds until its connection ended."""

    answer: Answer | None
    seconds: float


def head_of(connection: Connection, first: bytes, more: bytes) -> Outcome:
    """Send the beginning of a head, then a little more every half second."""
    started = time.monotonic()
    connection.send(first)
    while connection.is_silent(0.5):
        connection.send(more)
    answer = connection.answer() if first else None
    assert connection.ends()
    return Outcome(answer, time.monotonic() - started)


def body_of(connection: Connection, piece: bytes, pause: float) -> Outcome:
    """Continue an upload with a piece after each pause, until an answer comes."""
    started = time.monotonic()
    while connection.is_silent(pause):
        connection.send(piece)
    return Outcome(connection.answer(), time.monotonic() - started)


def unfinished(connection: Connection) -> Outcome:
    """Leave the body of a refused upload unfinished."""
    started = time.monotonic()
    connection.head("POST /v1/images", "Content-Type: text/plain", "Content-Length: 100")
    answer = connection.answer()
    assert connection.ends()
    return Outcome(answer, time.monotonic() - started)


def endless(connection: Connection) -> Outcome:
    """Go on sending slowly after a refusal."""
    started = time.monotonic()
    connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {10**12}")
    answer = connection.answer()
    assert connection.ends()  # half closed at once, so that the client knows
    with suppress(BrokenPipeError, ConnectionResetError):
        while time.monotonic() < started + 15:
            connection.send(b"x")
            time.sleep(0.1)
    return Outcome(answer, time.monotonic() - started)


@pytest.fixture(scope="module")
def slow(brief: Service, service: Service) -> Iterator[Callable[[str], Outcome]]:
    """Returns the outcome of the slow client of a name."""
    with ExitStack() as stack:

        def connection(of: Service) -> Connection:
            return stack.enter_context(of.connect())

        def upload(of: Service, piece: bytes, pause: float) -> Callable[[], Outcome]:
            client = connection(of)
            client.head("POST /v1/images", "Content-Type: image/jpeg", "Content-Length: 200000")
            client.send(SMALL[:600])
            return lambda: body_of(client, piece, pause)

        def head(first: bytes, more: bytes = b"") -> Callable[[], Outcome]:
            client = connection(service)
            return lambda: head_of(client, first, more)

        begun = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
        clients: dict[str, Callable[[], Outcome]] = {
            "silent": head(b""),
            "stalled": head(begun),
            "a byte of the head now and then": head(begun + b"A: ", b"x"),
            "unfinished": lambda: unfinished(connection(service)),
            "endless": lambda: endless(connection(service)),
            "a byte a second": upload(service, b"x", 1.0),
            # These two occupy both receiving slots of `brief`, so that eight times the minimum rate applies.
            "the minimum rate, all slots taken": upload(brief, bytes(130), 0.1),
            "long enough": upload(brief, bytes(1500), 0.1),
        }
        threads = stack.enter_context(ThreadPoolExecutor(len(clients)))
        outcomes: dict[str, Future[Outcome]] = {
            name: threads.submit(client) for name, client in clients.items()
        }
        yield lambda name: outcomes[name].result()


@pytest.mark.parametrize("name", ["stalled", "a byte of the head now and then"])
def test_with_heads(slow: Callable[[str], Outcome], name: str) -> None:
    """A head that is not complete in time gets a 408, even if some bytes of it keep coming."""
    outcome = slow(name)
    assert outcome.answer is not None
    problem(outcome.answer, 408, "request-timeout")
    assert 5 < outcome.seconds < 19


def test_with_silence(slow: Callable[[str], Outcome]) -> None:
    """A connection on which nothing is sent is closed without an answer."""
    outcome = slow("silent")
    assert outcome.answer is None
    assert outcome.seconds < 19


def test_with_the_rest_of_a_refused_body(slow: Callable[[str], Outcome]) -> None:
    """The rest of a small refused body has a few seconds to arrive, then the connection is closed."""
    outcome = slow("unfinished")
    assert outcome.answer is not None
    problem(outcome.answer, 415, "unsupported-media-type")
    assert outcome.seconds < 15


def test_with_lingering(slow: Callable[[str], Outcome]) -> None:
    """A refused client that neither ends its body nor disconnects is disconnected after 5 s."""
    outcome = slow("endless")
    assert outcome.answer is not None
    problem(outcome.answer, 413, "too-large")
    assert 3 < outcome.seconds < 14


def test_with_a_byte_a_second(slow: Callable[[str], Outcome]) -> None:
    """An upload below MIN_UPLOAD_RATE gets a 408 after the grace period."""
    answer = slow("a byte a second").answer
    assert answer is not None
    assert "less than" in problem(answer, 408, "upload-too-slow")["detail"]


def test_with_the_minimum_rate_while_all_slots_are_taken(slow: Callable[[str], Outcome]) -> None:
    """A rate that is otherwise sufficient gets a 408 while others need the receiving slot."""
    answer = slow("the minimum rate, all slots taken").answer
    assert answer is not None
    assert "less than" in problem(answer, 408, "upload-too-slow")["detail"]


def test_with_uploads_in_all(slow: Callable[[str], Outcome]) -> None:
    """An upload that takes longer than UPLOAD_TIMEOUT gets a 408, however steady it is."""
    answer = slow("long enough").answer
    assert answer is not None
    assert "longer" in problem(answer, 408, "upload-too-slow")["detail"]


def test_releases_every_slot(slow: Callable[[str], Outcome], brief: Service, service: Service) -> None:
    """After all of them no receiving slot is occupied, the spool is empty, and each refusal was counted."""
    for name in ("a byte a second", "the minimum rate, all slots taken", "long enough"):
        slow(name)
    for each in (brief, service):
        each.settled()
        assert not [name for name in each.stored() if name.startswith("spool/")]
    assert brief.stats()["refusals"]["408"] == 2
