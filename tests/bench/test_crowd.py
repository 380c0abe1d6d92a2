"""The crowd of the overload bench: an open loop that tells who saw an answer, and who did not."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.overload.crowd import Plan

ROOT = Path(__file__).parents[2]
PHOTO = b"\xff\xd8" + bytes(200_000)
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfull"
TAKEN = b'HTTP/1.1 202 Accepted\r\nContent-Length: 38\r\n\r\n{"id": "a", "estimated_wait_ms": 1500}'


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does `serve` to one connection after the other; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def send(port: int, file: Path, photo: bytes = PHOTO, **plan: float) -> Any:
    """Run the crowd's process to its end; what it found."""
    file.write_bytes(photo)
    done = subprocess.run(
        [sys.executable, "-m", "bench.overload.crowd", str(port), str(file), json.dumps(plan)],
        cwd=ROOT,
        input="go\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return json.loads(done.stdout.removeprefix("ready\n"))


def read_form(connection: socket.socket) -> bytes:
    """The whole request, up to the end of its form."""
    came = b""
    while not came.endswith(b"--\r\n"):
        came += connection.recv(1 << 20)
    return came


def test_an_accepted_photo_came_in_whole_and_its_id_and_estimate_are_kept(tmp_path: Path) -> None:
    """The form holds the photo, byte for byte, and its length is true."""
    came: list[bytes] = []

    def accept(connection: socket.socket) -> None:
        with connection:
            came.append(read_form(connection))
            connection.sendall(TAKEN)

    with listening(accept) as port:
        found = send(port, tmp_path / "photo", rate=0, seconds=0.1, burst=3)
    assert [answer[1] for answer in found["answers"]] == [202] * 3
    assert [answer[4:] for answer in found["answers"]] == [["a", 1.5]] * 3
    head, _, form = came[0].partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(form) in head
    assert PHOTO in form


def test_an_answer_behind_a_reset_is_not_seen(tmp_path: Path) -> None:
    """An answer, and a close with most of the photo unread, is how refusals get lost."""

    def refuse(connection: socket.socket) -> None:
        with connection:
            connection.recv(1000)
            connection.sendall(BUSY)

    with listening(refuse) as port:
        found = send(port, tmp_path / "photo", PHOTO * 100, rate=0, seconds=0.1, burst=1)
    assert [answer[1] for answer in found["answers"]] == [0]


def test_a_client_without_an_answer_gives_up(tmp_path: Path) -> None:
    """Nobody waits for longer than the plan's patience, and the crowd ends."""
    kept: list[socket.socket] = []
    with listening(kept.append) as port:
        found = send(port, tmp_path / "photo", rate=0, seconds=0.1, burst=2, patience=0.2)
    assert [answer[1] for answer in found["answers"]] == [-1] * 2
    for connection in kept:
        connection.close()


def test_each_client_has_an_address_of_its_own_and_comes_at_its_moment(tmp_path: Path) -> None:
    """A server that answers late gets no fewer."""
    addresses: list[str] = []

    def slow(connection: socket.socket) -> None:
        with connection:
            addresses.append(connection.getpeername()[0])
            read_form(connection)
            connection.sendall(BUSY)

    with listening(slow) as port:
        found = send(port, tmp_path / "photo", rate=100, seconds=0.3, evenly=1)
    assert len(found["answers"]) == 29
    assert len(set(addresses)) == 29


def test_the_same_plan_is_the_same_load_for_every_system() -> None:
    """Arrivals are random, and alike each time."""
    plan = Plan(rate=50, seconds=20)
    assert list(plan.moments()) == list(plan.moments())
    assert 850 < len(list(plan.moments())) < 1150
