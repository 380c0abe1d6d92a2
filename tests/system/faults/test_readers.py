"""Clients that do not read the large answer that they asked for: app/server/slow_readers.py."""

import io
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from app.server.slow_readers import MAX_WATCHED
from tests.service import PATIENCE, Connection, Executed, Service, fresh_address, serving, until
from tests.system.faults.conftest import FAULT

SECONDS = 0.5
"""After how long the service looks whether a client has read enough; shortened for these tests."""


class Hurried(Executed):
    """A service that soon ends connections of slow readers, and one large picture."""

    command = (sys.executable, FAULT, f"patience={SECONDS}", "--")
    path = ""
    size = 0

    def open_files(self) -> list[str]:
        """The files of images that the service has open."""
        return [name for name in self.descriptors() if "/data/images/" in name]

    def show(self, picture: bytes) -> None:
        """Have the picture made that clients will ask for."""
        made = self.upload(picture, prefer="wait=60").json()["variants"]["big"]
        assert made["bytes"] > 4_500_000
        self.path, self.size = made["url"], made["bytes"]

    def ask(self, address: str | None = None) -> Connection:
        """A client with a small receive window that has asked for the picture."""
        connection = Connection.__new__(Connection)
        connection._buffer = b""
        connection.socket = socket.socket()
        connection.socket.settimeout(PATIENCE)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.socket.bind((address or fresh_address(), 0))
        connection.socket.connect((self.host, self.port))
        connection.head(f"GET {self.path}")
        return connection


def noise() -> bytes:
    """A photo of noise, which no encoder makes small."""
    file = io.BytesIO()
    Image.frombytes("RGB", (2400, 1800), os.urandom(2400 * 1800 * 3)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hurried]:
    """A service with a picture of some 5 MB, which is more than the kernel buffers for a connection."""
    with serving(tmp_path_factory.mktemp("hurried"), kind=Hurried, variants="big=2400:97") as service:
        assert isinstance(service, Hurried)
        service.show(noise())
        yield service


def test_who_reads_nothing_is_cut_off(hurried: Hurried) -> None:
    """The connection is reset and the file that was open for it closed; others are served meanwhile."""
    with hurried.ask() as connection:
        until(hurried.open_files, "the file to be opened")
        began = time.monotonic()
        assert hurried.get("/healthz").status == 200
        until(lambda: not hurried.open_files(), "the file to be closed")
        assert time.monotonic() - began > SECONDS * 0.9
        with pytest.raises(ConnectionResetError):  # so the kernel keeps nothing for it either
            connection.ends()


def test_who_reads_a_byte_now_and_then_is_cut_off(hurried: Hurried) -> None:
    """Less than a kilobyte a second does not count as reading."""
    with hurried.ask() as connection:
        until(hurried.open_files, "the file to be opened")

        def is_cut() -> bool:
            assert connection.socket.recv(1)
            return not hurried.open_files()

        until(is_cut, "the file to be closed")


def test_who_reads_slowly_gets_all(hurried: Hurried) -> None:
    """A client with a small window that reads steadily gets everything, however long it takes."""
    with hurried.ask() as connection:
        came, began = 0, time.monotonic()
        while came < hurried.size:
            hurried.get("/healthz")  # a round trip of the server between two reads
            piece = connection.socket.recv(4096)
            assert piece, f"cut off after {came} bytes"
            came += len(piece)
        assert time.monotonic() - began > SECONDS


def test_who_leaves_takes_nothing_along(hurried: Hurried) -> None:
    """A client that disconnects in the middle leaves no file open."""
    connections = [hurried.ask() for _ in range(5)]
    until(lambda: len(hurried.open_files()) == 5, "the files to be opened")
    for connection in connections:
        connection.close()
    until(lambda: not hurried.open_files(), "the files to be closed")


class Unhurried(Hurried):
    """A service that waits for readers as long as it does in earnest, and one large picture."""

    command = Service.command


def test_many_at_once_take_no_more_than_some(tmp_path: Path) -> None:
    """Of 600 readers from one address most are reset at once; another address is served."""
    with serving(tmp_path, kind=Unhurried, variants="big=2400:97", job_timeout=60) as service:
        assert isinstance(service, Unhurried)
        service.show(noise())
        with ExitStack() as stack:
            slow = stack.enter_context(service.ask())
            came = 0

            def read_on(most: int) -> None:
                """Read a little, as this client does all the time so as to stay above the minimum rate."""
                nonlocal came
                piece = slow.socket.recv(most)
                assert piece, f"cut off after {came} bytes"
                came += len(piece)

            def open_files() -> int:
                read_on(512)
                return len(service.open_files())

            until(service.open_files, "the file to be opened")
            for _ in range(600):
                stack.enter_context(service.ask("127.0.99.1"))
                read_on(2048)
            until(lambda: open_files() > 100, "the files to be opened")
            assert service.get("/healthz").status == 200
            until(lambda: open_files() <= MAX_WATCHED, "most of them to be reset")
            while came < service.size:
                read_on(65_536)
