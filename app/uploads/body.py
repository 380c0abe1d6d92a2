"""The intake: brings an upload's body to the spool, or to what it repeats, counting and timing every byte."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.requests import ClientDisconnect

from app.engine.interface import Engine, UploadSlot
from app.server.client_connection import connection_of
from app.server.problems import ProblemError
from app.server.read_buffer import SMALL_READ
from app.uploads.multipart import MULTIPART, MULTIPART_ALLOWANCE, Form, MalformedForm, form_in
from app.uploads.read_permit import MAX_FAST_READERS, PATIENCE, ReadPermit
from workers.formats import SNIFF_BYTES, sniff

GRACE = 5.0
"""Seconds in which an upload may be slower than the least rate."""
_CREDIT = 10.0
"""Seconds that a fast upload may later stall at most."""
_TICK = 0.5
"""Seconds after which a silent upload is looked at again."""
_HASTE = 8
"""How much faster an upload must be while the dock is full."""


ACCEPT = f"{MULTIPART}, image/*, application/octet-stream"
"""The media types that an upload may have, as an Accept field."""


class TooLarge(ProblemError):
    """Raised when a file has, or a request declares, more bytes than are accepted."""

    slug = "too-large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"The file is too large: at most {max_bytes} bytes are accepted.",
            headers=[("Upload-Limit", f"max-size={max_bytes}")],
        )


class UnsupportedType(ProblemError):
    """Raised when the declared media type, or the first bytes, are not those of an accepted image."""

    slug = "unsupported-media-type"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=[("Accept", ACCEPT)])


class NoFile(ProblemError):
    """Raised when the form holds no file, or the file no bytes."""

    slug = "no-file"


class UploadTooSlow(ProblemError):
    """Raised when an upload passes its deadline, or falls below the minimum rate."""

    slug = "upload-too-slow"


@dataclass(frozen=True, slots=True)
class Received:
    """An upload that has come: the file's `size` in bytes, its sniffed format, the further files ignored."""

    size: int
    format: str
    ignored_files: int


class Target(Protocol):
    """What a file is brought to: a spool, or what only looks at it."""

    async def write(self, data: bytes) -> None:
        """Take more of it. Raises StoreFull when the disk is."""


class _Sink:
    """Where the file's bytes go: counted, recognised by the first of them, then passed on."""

    def __init__(self, target: Target, max_bytes: int) -> None:
        self._target = target
        self._max_bytes = max_bytes
        self._head = b""
        self.size = 0
        self.format: str | None = None

    async def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max_bytes:
            raise TooLarge(self._max_bytes)
        if self.format is None:
            self._head += data[:SNIFF_BYTES]
            if len(self._head) >= SNIFF_BYTES:
                self._recognise()
        await self._target.write(data)

    def finish(self) -> str:
        if self.size == 0:
            raise NoFile("The file has no bytes.")
        if self.format is None:
            self._recognise()
        assert self.format is not None  # noqa: S101
        return self.format

    def _recognise(self) -> None:
        self.format = sniff(self._head)
        if self.format is None:
            raise UnsupportedType("The file's first bytes are not those of an accepted image format.")


class _Pace:
    """The deadlines of one upload: in all, and the moment when it has fallen behind the least rate."""

    def __init__(self, engine: Engine, timeout: float, min_rate: int) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._rate = min_rate
        now = self._loop.time()
        self._end = now + timeout
        self._behind_at = now + GRACE

    def excuse(self, since: float) -> None:
        """Do not count the time since then against the client: it was ours."""
        self._behind_at += self._loop.time() - since

    def due(self) -> float:
        """When to look again; raises UploadTooSlow past a deadline, Draining when the service ends."""
        self._engine.check_receiving()
        now = self._loop.time()
        if now >= self._end:
            raise UploadTooSlow("The upload took longer than allowed.")
        if self._rate and now >= self._behind_at:
            raise UploadTooSlow("The upload is slower than allowed.")
        return min(self._end, self._behind_at, now + _TICK) if self._rate else min(self._end, now + _TICK)

    def count(self, received: int) -> None:
        """Bytes came in: the moment of falling behind moves on, by less while others need the place."""
        if self._rate:
            rate = self._rate * (_HASTE if self._engine.receiving_full else 1)
            self._behind_at = min(self._behind_at + received / rate, self._loop.time() + _CREDIT)


class BodyReader:
    """Reads bodies: multipart or raw, bounded in bytes, in time, and from below in rate."""

    def __init__(self, engine: Engine, max_bytes: int, timeout: float, min_rate: int) -> None:
        """`max_bytes` for the file, `timeout` seconds in all, `min_rate` bytes per second (0: any)."""
        self._engine = engine
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._min_rate = min_rate
        self._fast_readers = asyncio.Semaphore(MAX_FAST_READERS)

    async def receive(self, request: Request, target: Target, place: UploadSlot | None) -> Received:
        """Bring the whole file to its target, telling its place in the dock, if it has one, how it gets on.

        Raises:
            MalformedForm, NoFile, TooLarge, UnsupportedType, UploadTooSlow: what is wrong with it.
            StoreFull: the disk is.
            Draining: the service is about to end.
            ClientDisconnect: the client went away.
        """
        form = form_in(request.headers.get("content-type"))
        sink = _Sink(target, self._max_bytes)
        try:
            with ReadPermit(self._fast_readers, connection_of(request.scope)) as permit:
                await self._read(request, sink, form, place, permit)
        except FormParserError as error:
            raise MalformedForm(str(error)) from None
        if form is not None and not form.ended:
            raise MalformedForm("The body ends before its closing boundary.")
        if form is not None and not form.files:
            raise NoFile("The form has no file part.")
        return Received(sink.size, sink.finish(), max(0, form.files - 1) if form else 0)

    async def _read(
        self, request: Request, sink: _Sink, form: Form | None, place: UploadSlot | None, permit: ReadPermit
    ) -> None:
        loop = asyncio.get_running_loop()
        declared = int(request.headers.get("content-length", 0))
        pace = _Pace(self._engine, self._timeout, self._min_rate)
        most = self._max_bytes + MULTIPART_ALLOWANCE
        total = 0
        more = True
        while more:
            if place is not None:
                place.progress(total / declared if declared else 0.0)
            due = pace.due()
            try:
                async with asyncio.timeout_at(min(due, loop.time() + PATIENCE) if permit.held else due):
                    message = await request.receive()
            except TimeoutError:
                permit.release()
                continue
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            data = message.get("body", b"")
            more = message.get("more_body", False)
            del message  # two hundred uploads wait for hands at once: each holds what it read only once
            came = loop.time()
            pace.count(len(data))
            total += len(data)
            if total > most:
                raise TooLarge(self._max_bytes)
            at_hand = len(data) >= SMALL_READ
            if at_hand:
                await permit.acquire()
            if data:
                data = form.feed(data) if form is not None else data
                await sink.write(data)
            if not at_hand:
                permit.release()
            pace.excuse(came)
