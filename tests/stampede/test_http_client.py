"""The client of a stampede sees what a strict client sees, no more and no less."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.stampede.http_client import _SO_TIMESTAMPNS, _TIMESPEC, Answer, NoAnswer, ask
from app.stampede.target import Target, resolve
from tests.service import until

REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}"
BODY = bytes(8_000_000)


@contextmanager
def answering(play: Callable[[socket.socket], None]) -> Iterator[Target]:
    """A server that runs `play` on its one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                play(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield resolve(f"http://127.0.0.1:{listener.getsockname()[1]}")[0]
        finally:
            thread.join(10)


def reset(connection: socket.socket) -> None:
    """Close with RST, as a server with unread bytes does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def post(target: Target) -> Answer:
    return asyncio.run(ask(target, "POST /v1/images", body=BODY, timeout_s=5))


@pytest.mark.parametrize("location", ["/v1/images/a", "https://www.example/v1/images/a"])
def test_a_job_is_followed_where_it_was_accepted(location: str) -> None:
    """Whatever the public URL of the server is, which may lead elsewhere."""
    assert Answer(202, {"location": location}, b"", 0.1).location == "/v1/images/a"
    assert Answer(202, {}, b"", 0.1).location is None


def test_a_refusal_is_seen_while_the_body_is_still_going_out() -> None:
    """Eight megabytes fit in no buffer, and the answer comes before the server has read them."""

    def play(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(REFUSAL)
        connection.recv(1)  # until the client has hung up, or sent more

    with answering(play) as target:
        answer = post(target)
    assert answer.status == 503
    assert answer.retry_after == 7
    assert answer.json() == {}


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 503 Service", REFUSAL[:-1]])
def test_a_reset_before_the_end_of_the_answer_is_unseen(said: bytes) -> None:
    """An incomplete answer counts as none."""

    def play(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(said)
        reset(connection)

    with answering(play) as target, pytest.raises(NoAnswer):
        post(target)


def test_an_orderly_end_without_an_answer_is_unseen() -> None:
    """A server that closes without an answer has not refused."""
    with answering(socket.socket.close) as target, pytest.raises(NoAnswer):
        asyncio.run(ask(target, "GET /", timeout_s=5))


@contextmanager
def kernel_stamping() -> Iterator[None]:
    """Have the kernel stamp what arrives: it begins to some time after a first socket has asked for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        own.bind(("127.0.0.1", 0))

        def is_stamped() -> bool:
            own.sendto(b"x", own.getsockname())
            sent_at = time.time()
            _, [(_, _, content)], _, _ = own.recvmsg(1, 100)
            seconds, nanoseconds = _TIMESPEC.unpack(content)
            return bool(seconds + nanoseconds / 1e9 < sent_at)  # else it was stamped as it was read

        until(is_stamped, "the kernel to stamp what arrives")
        yield


def test_a_client_that_is_busy_counts_no_time_of_its_own() -> None:
    """What counts is when the answer arrived, not when a crowded event loop got to read it."""
    answered = threading.Event()

    def play(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(REFUSAL)
        answered.set()
        connection.recv(1)

    async def ask_while_busy(target: Target) -> Answer:
        asking = asyncio.create_task(ask(target, "GET /", timeout_s=5))
        while not answered.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - the event loop is to be busy
        return await asking

    with kernel_stamping(), answering(play) as target:
        assert asyncio.run(ask_while_busy(target)).seconds < 0.4


def test_a_refused_client_has_not_sent_its_whole_body() -> None:
    """A server that answers by the head alone has been sent the first part of the photo only."""
    received = []

    def play(connection: socket.socket) -> None:
        connection.recv(1000)
        time.sleep(0.05)
        connection.sendall(REFUSAL)
        connection.settimeout(5)
        while piece := connection.recv(1_000_000):
            received.append(len(piece))

    with answering(play) as target:
        assert post(target).status == 503
    assert 0 < sum(received) < len(BODY) / 2
