"""Reads the bodies of uploads: bounded in bytes and time, at a minimum rate, a few of them at full speed."""

import asyncio
from typing import Protocol, Self

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.engine.interface import Engine, UploadSlot
from app.runtime.sizes import format_size
from app.server.client_connection import connection_of
from app.server.problems import ProblemError
from app.server.read_buffer import SMALL_READ
from app.uploads.file_sink import RAW_BODY, FileSink, Received, Target, TooLarge
from app.uploads.multipart import MULTIPART_ALLOWANCE, Form, form_in

GRACE_S = 5.0
"""Seconds at the start of an upload in which it may be slower than the minimum rate."""
_MAX_CREDIT_S = 10.0
"""Seconds of silence that a fast upload may earn at most."""
_CHECK_INTERVAL_S = 0.5
"""Seconds after which the deadlines of a silent upload are checked again."""
_RATE_FACTOR_WHEN_FULL = 8
"""By how much the minimum rate rises while all receiving slots are taken."""
MAX_FAST_READERS = 8
"""Uploads that are read at full speed at once: half as many as the store has threads that write."""
PERMIT_IDLE_TIMEOUT_S = 0.05
"""Seconds for which an upload keeps its permit while nothing arrives."""


class UploadTooSlow(ProblemError):
    """Raised when an upload passes its deadline, or falls below the minimum rate."""

    slug = "upload-too-slow"


class _Deadlines:
    """The deadlines of one upload: its end, and the moment when it falls behind the minimum rate."""

    def __init__(self, engine: Engine, timeout_s: float, min_rate: int) -> None:
        """`min_rate` is in bytes per second; 0 allows any."""
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._min_rate = min_rate
        self._timeout_s = timeout_s
        now = self._loop.time()
        self._end = now + timeout_s
        self._behind_at = now + GRACE_S

    def next_check(self) -> float:
        """The loop time at which to call this again.

        Raises:
            UploadTooSlow: a deadline has passed.
            Draining: the service is about to stop.
        """
        self._engine.check_receiving()
        now = self._loop.time()
        if now >= self._end:
            raise UploadTooSlow(f"The upload took longer than the {self._timeout_s:g} s that one may take.")
        if not self._min_rate:
            return min(self._end, now + _CHECK_INTERVAL_S)
        if now >= self._behind_at:
            rate = format_size(self._min_rate * self._rate_factor)
            raise UploadTooSlow(
                f"The upload came at less than {rate} a second, the least that is accepted now."
            )
        return min(self._end, self._behind_at, now + _CHECK_INTERVAL_S)

    def count(self, received: int) -> None:
        """Count bytes that have arrived. They earn time; less of it while all receiving slots are taken."""
        if self._min_rate:
            earned = received / (self._min_rate * self._rate_factor)
            self._behind_at = min(self._behind_at + earned, self._loop.time() + _MAX_CREDIT_S)

    @property
    def _rate_factor(self) -> int:
        return _RATE_FACTOR_WHEN_FULL if self._engine.receiving_full else 1

    def exclude_since(self, moment: float) -> None:
        """Do not count the time since a moment: the service, not the client, was slow then."""
        self._behind_at += self._loop.time() - moment


class FastReading(Protocol):
    """A connection that can be read in large pieces."""

    fast_reading: bool
    """Whether it is."""


class ReadPermit:
    """The permit of one upload to be read at full speed; there are `MAX_FAST_READERS` of them.

    If hundreds of uploads were read at full speed at once, each would keep large pieces in memory, all would
    be complete only at the end, and refusals would wait for the event loop. So a few are read fast, each as
    long as its bytes keep coming. The bytes of the others wait in the kernel's buffers, apart from a small
    piece. Used as a context manager, it is given back at the end of the block.
    """

    def __init__(self, permits: asyncio.Semaphore, connection: FastReading) -> None:
        self._permits = permits
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_held(self) -> bool:
        """Whether the upload is read at full speed."""
        return self._connection.fast_reading

    async def acquire(self) -> None:
        """Wait for a permit, first come first served. Returns at once if it is held already."""
        if not self._connection.fast_reading:
            await self._permits.acquire()
            self._connection.fast_reading = True

    def release(self) -> None:
        """Give the permit back, if it is held."""
        if self._connection.fast_reading:
            self._connection.fast_reading = False
            self._permits.release()


class BodyReader:
    """Reads bodies, multipart or raw."""

    def __init__(self, engine: Engine, max_bytes: int, timeout_s: float, min_rate: int) -> None:
        """`max_bytes` bounds the file and `timeout_s` the whole upload; `min_rate` is in bytes per second."""
        self._engine = engine
        self.max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._min_rate = min_rate
        self._permits = asyncio.Semaphore(MAX_FAST_READERS)

    async def receive(
        self, request: Request, target: Target, slot: UploadSlot | None, max_bytes: int | None = None
    ) -> Received:
        """Write the file in the body to `target`, and report progress to the upload's slot, if it has one.

        `max_bytes` bounds the file further than every file is bounded.

        Raises:
            MalformedForm, NoFile, TooLarge, UnsupportedType, UploadTooSlow: what is wrong with the upload.
            StoreFull: the target has no room.
            Draining: the service is about to stop.
            ClientDisconnect: the client has left.
        """
        form = form_in(request.headers.get("content-type"))
        max_bytes = min(self.max_bytes, max_bytes or self.max_bytes)
        sink = FileSink(target, max_bytes)
        with ReadPermit(self._permits, connection_of(request.scope)) as permit:
            await self._read(request, sink, form, slot, permit)
        if form is not None:
            form.check_end()
        return await sink.finish(form)

    async def _read(
        self, request: Request, sink: FileSink, form: Form | None, slot: UploadSlot | None, permit: ReadPermit
    ) -> None:
        loop = asyncio.get_running_loop()
        declared = int(request.headers.get("content-length", 0))
        deadlines = _Deadlines(self._engine, self._timeout_s, self._min_rate)
        max_body = self.max_bytes + MULTIPART_ALLOWANCE
        total = 0
        more = True
        while more:
            if slot is not None:
                slot.progress(total / declared if declared else 0.0)
            until = deadlines.next_check()
            if permit.is_held:
                until = min(until, loop.time() + PERMIT_IDLE_TIMEOUT_S)
            try:
                async with asyncio.timeout_at(until):
                    message = await request.receive()
            except TimeoutError:
                permit.release()
                continue
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            data = message.get("body", b"")
            more = message.get("more_body", False)
            del message  # hundreds of uploads may wait for a permit; each keeps its bytes in memory once
            arrived_at = loop.time()
            deadlines.count(len(data))
            total += len(data)
            if total > max_body:
                raise TooLarge(self.max_bytes)
            is_fast = len(data) >= SMALL_READ
            if is_fast:
                await permit.acquire()
            await pass_on(data, form, sink)
            if not is_fast:
                permit.release()
            deadlines.exclude_since(arrived_at)


async def pass_on(data: bytes | memoryview, form: Form | None, sink: FileSink) -> None:
    """Give the next piece of a body to the sink, through the form if it is one.

    Raises:
        MalformedForm: the form is malformed.
        Others: as `FileSink.write` and `FileSink.check_overhead`.
    """
    if form is None:
        await sink.write(RAW_BODY, data)
        return
    for part, content in form.feed(data):
        await sink.write(part, content)
        sink.check_overhead(form.overhead)  # parts without content cost work, too
    sink.check_overhead(form.overhead)
