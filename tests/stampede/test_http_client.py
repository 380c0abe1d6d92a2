"""The client of a stampede sees what a strict client sees, no more and no less."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.stampede.http_client import Answer, NoAnswer, ask
from app.stampede.target import Target, resolve

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
