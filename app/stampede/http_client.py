"""A strict HTTP client: one request on a connection of its own, and only a complete answer counts.

It uses plain sockets, because asyncio's transports drop what has arrived as soon as a write fails: a refusal
that curl would show would then count as a reset connection.
"""

import asyncio
import json
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from app.stampede.target import Target

ANSWER_TIMEOUT_S = 60.0
"""Seconds after which no answer is expected any more."""
_FIRST_BYTES, _LATENCY_S = 64 * 1024, 0.1
"""How much of a body is sent at once, and the seconds in which a refusal may come before the rest follows.

A network has sent no more of a photo by then. Loopback takes all of it in no time: thousands of refused
clients would each copy megabytes that nobody wants, and keep the cores busy on which the server is to answer.
"""
_SO_TIMESTAMPNS = 35
"""Linux's option for the time at which data arrived, and the type of the message that has it (socket(7))."""
_TIMESPEC = struct.Struct("@ll")


class NoAnswer(Exception):
    """Raised when a connection could not be made, or ended without a complete answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: header names in lower case, and the `seconds` from the sent head to the arrival of its end.

    The arrival is the kernel's time where it tells one, so that an answer that waits until this process gets
    to read it does not look like a slow server.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def retry_after(self) -> float | None:
        """The Retry-After field in seconds; None without one, or where it is a date."""
        value = self.headers.get("retry-after", "")
        return float(value) if value.isdecimal() else None

    @property
    def location(self) -> str | None:
        """The path that the Location field names: the same server is asked, whatever its public URL is."""
        value = self.headers.get("location")
        return None if value is None else urlsplit(value).path

    def json(self) -> dict[str, Any]:
        """The body if it is a JSON object, otherwise an empty dictionary."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


async def ask(
    target: Target,
    line: str,
    *,
    source: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    seconds_per_byte: float = 0,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Answer:
    """Send a request, such as the `line` "GET /healthz", and read the answer while the body is being sent.

    `source` is the address to connect from. With `seconds_per_byte` the body is sent byte by byte, at that
    interval.

    Raises:
        NoAnswer: the connection could not be made, was reset or closed early, or `timeout_s` have passed.
    """
    try:
        with socket.socket(target.family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            if source is not None:
                connection.bind((source, 0))
            async with asyncio.timeout(timeout_s):
                return await _exchange(connection, target, line, headers or {}, body, seconds_per_byte)
    except (OSError, h11.RemoteProtocolError) as error:
        # TimeoutError is an OSError.
        raise NoAnswer(str(error) or type(error).__name__) from None


async def _exchange(
    connection: socket.socket,
    target: Target,
    line: str,
    headers: Mapping[str, str],
    body: bytes,
    seconds_per_byte: float,
) -> Answer:
    loop = asyncio.get_running_loop()
    method, path = line.split(" ")
    sent = {"Host": target.authority, "User-Agent": "spillway-stampede", "Connection": "close", **headers}
    if body:
        sent["Content-Length"] = str(len(body))
    parser = h11.Connection(h11.CLIENT)
    head = parser.send(h11.Request(method=method, target=path, headers=list(sent.items())))
    with suppress(OSError):  # elsewhere the time of reading has to do
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    await loop.sock_connect(connection, target.address)
    sent_at = time.time()
    await loop.sock_sendall(connection, head or b"")
    writing = asyncio.create_task(_write(connection, body, seconds_per_byte))
    try:
        status, received, data, arrived_at = await _read(connection, parser)
        return Answer(status, received, data, max(0.0, arrived_at - sent_at))
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


async def _write(connection: socket.socket, body: bytes, seconds_per_byte: float) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # a server that stops reading may have answered: `_read` will see
        if not seconds_per_byte:
            await loop.sock_sendall(connection, body[:_FIRST_BYTES])
            await asyncio.sleep(_LATENCY_S)
            await loop.sock_sendall(connection, memoryview(body)[_FIRST_BYTES:])
            return
        for byte in body:
            await loop.sock_sendall(connection, bytes((byte,)))
            await asyncio.sleep(seconds_per_byte)


async def _read(
    connection: socket.socket, parser: h11.Connection
) -> tuple[int, dict[str, str], bytes, float]:
    """Status, header fields and body of the answer, and the time of day at which its last part arrived."""
    status, headers, body, arrived_at = 0, dict[str, str](), bytearray(), 0.0
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            data, arrived_at = await _receive(connection)
            parser.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, headers, bytes(body), arrived_at
        elif not isinstance(event, h11.InformationalResponse):
            raise ConnectionResetError("closed before an answer")


async def _receive(connection: socket.socket) -> tuple[bytes, float]:
    """What has arrived, and when (seconds since the epoch)."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            data, messages, _, _ = connection.recvmsg(65_536, socket.CMSG_SPACE(_TIMESPEC.size))
        except BlockingIOError:
            readable = loop.create_future()
            loop.add_reader(connection, _wake, readable)
            try:
                await readable
            finally:
                loop.remove_reader(connection)
            continue
        for level, kind, content in messages:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(content) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(content)
                return data, seconds + nanoseconds / 1e9
        return data, time.time()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
