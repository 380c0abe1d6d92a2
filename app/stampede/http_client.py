"""One HTTP exchange on a connection of its own, strict: what the client does not see was not said.

Sockets are used bare, because asyncio's transports drop what has arrived already as soon as a write fails: a
refusal that curl would show would then count as a reset connection.
"""

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11

from app.stampede.target import Target

PATIENCE = 60.0
"""Seconds after which an answer is not going to come."""


class Unseen(Exception):
    """Raised when a connection ended, or was never made, without a whole answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: header names in lower case, and the `seconds` that it took from the first SYN."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def retry_after(self) -> float | None:
        """Seconds, where the answer names a moment to come back at."""
        value = self.headers.get("retry-after", "")
        return float(value) if value.isdecimal() else None

    def json(self) -> dict[str, Any]:
        """The body, where it is a JSON object; else an empty one."""
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
    fields: Mapping[str, str] | None = None,
    body: bytes = b"",
    byte_s: float = 0,
    patience: float = PATIENCE,
) -> Answer:
    """Send a request such as `GET /healthz` and read its answer while the body is still going out.

    `source` is the address to come from. With `byte_s` the body drips: one byte each so many seconds.

    Raises:
        Unseen: no connection, a reset one, one that closed early, or `patience` seconds without an answer.
    """
    started = time.monotonic()
    try:
        with socket.socket(target.family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            if source is not None:
                connection.bind((source, 0))
            async with asyncio.timeout(patience):
                status, headers, data = await _exchange(connection, target, line, fields or {}, body, byte_s)
    except (OSError, h11.RemoteProtocolError) as error:
        # TimeoutError is an OSError.
        raise Unseen(str(error) or type(error).__name__) from None
    return Answer(status, headers, data, time.monotonic() - started)


async def _exchange(
    connection: socket.socket,
    target: Target,
    line: str,
    fields: Mapping[str, str],
    body: bytes,
    byte_s: float,
) -> tuple[int, dict[str, str], bytes]:
    loop = asyncio.get_running_loop()
    method, path = line.split(" ")
    sent = {"Host": target.authority, "User-Agent": "spillway-stampede", "Connection": "close", **fields}
    if body:
        sent["Content-Length"] = str(len(body))
    parser = h11.Connection(h11.CLIENT)
    head = parser.send(h11.Request(method=method, target=path, headers=list(sent.items())))
    await loop.sock_connect(connection, target.address)
    await loop.sock_sendall(connection, head or b"")
    writing = asyncio.create_task(_write(connection, body, byte_s))
    try:
        return await _read(connection, parser)
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


async def _write(connection: socket.socket, body: bytes, byte_s: float) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # whoever stops reading may have answered: that is for the reader to find out
        if not byte_s:
            await loop.sock_sendall(connection, body)
            return
        for byte in body:
            await loop.sock_sendall(connection, bytes((byte,)))
            await asyncio.sleep(byte_s)


async def _read(connection: socket.socket, parser: h11.Connection) -> tuple[int, dict[str, str], bytes]:
    loop = asyncio.get_running_loop()
    status, headers, body = 0, dict[str, str](), bytearray()
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            parser.receive_data(await loop.sock_recv(connection, 65_536))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, headers, bytes(body)
        elif not isinstance(event, h11.InformationalResponse):
            raise ConnectionResetError("closed before an answer")
