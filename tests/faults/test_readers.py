"""Clients that do not read the large answer that they asked for: app/outflow.py."""

import io
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.faults.conftest import FAULT, serving
from tests.service import PATIENCE, Connection, Service, fresh_address, until

SECONDS = 0.5
"""The service's patience, shortened."""


class Hurried(Service):
    """A service with little patience, and one large picture."""

    command = (sys.executable, FAULT, f"patience={SECONDS}", "--")
    path = ""
    size = 0

    def open_files(self) -> list[str]:
        """The files of images that it has open."""
        found = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found.append(str(descriptor.readlink()))
            except OSError:
                continue
        return [name for name in found if "/data/images/" in name]

    def ask(self) -> Connection:
        """A client with a small window that has asked for the picture."""
        connection = Connection.__new__(Connection)
        connection._buffer = b""
        connection.socket = socket.socket()
        connection.socket.settimeout(PATIENCE)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.socket.bind((fresh_address(), 0))
        connection.socket.connect((self.host, self.port))
        connection.head(f"GET {self.path}")
        return connection


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hurried]:
    """Has a picture of some 5 MB, which is more than the kernel takes for a connection."""
    noise = io.BytesIO()
    Image.frombytes("RGB", (2400, 1800), os.urandom(12_960_000)).save(noise, "JPEG", quality=95)
    with serving(Hurried, tmp_path_factory.mktemp("hurried"), variants="big=2400:97") as service:
        assert isinstance(service, Hurried)
        made = service.upload(noise.getvalue(), prefer="wait=60").json()["variants"]["big"]
        assert made["bytes"] > 4_500_000
        service.path, service.size = made["url"], made["bytes"]
        yield service


def test_who_reads_nothing_is_cut_off(hurried: Hurried) -> None:
    """And the file that was open for it is closed; meanwhile others are served."""
    with hurried.ask() as connection:
        until(hurried.open_files, "the file to be opened")
        began = time.monotonic()
        assert hurried.get("/healthz").status == 200
        until(lambda: not hurried.open_files(), "the file to be closed")
        assert SECONDS * 0.9 < time.monotonic() - began < 10
        with pytest.raises(ConnectionResetError):  # so the kernel keeps nothing for it either
            connection.ends()


def test_who_reads_a_byte_now_and_then_is_cut_off(hurried: Hurried) -> None:
    """Less than a kilobyte a second is no reading."""
    with hurried.ask() as connection:
        until(hurried.open_files, "the file to be opened")

        def is_cut() -> bool:
            assert connection.socket.recv(1)
            return not hurried.open_files()

        until(is_cut, "the file to be closed")


def test_who_reads_slowly_gets_all(hurried: Hurried) -> None:
    """A small window, a piece at a time: it takes as long as it takes."""
    with hurried.ask() as connection:
        came, began = 0, time.monotonic()
        while came < hurried.size:
            hurried.get("/healthz")  # takes its time
            piece = connection.socket.recv(4096)
            assert piece, f"cut off after {came} bytes"
            came += len(piece)
        assert time.monotonic() - began > SECONDS


def test_who_leaves_takes_nothing_along(hurried: Hurried) -> None:
    """A reader that hangs up in the middle leaves no file open."""
    connections = [hurried.ask() for _ in range(5)]
    until(lambda: len(hurried.open_files()) == 5, "the files to be opened")
    for connection in connections:
        connection.close()
    until(lambda: not hurried.open_files(), "the files to be closed")
