"""The preview worker: a warm child process that decodes the thumbnails which cameras embed in photos."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from app.engine.worker_process import WorkerProcess, WorkerProcessFailed
from app.runtime import tasks
from workers.frames import make_frame
from workers.thumbnail import MAX_SIDE, PREVIEW_TIMEOUT_S, read_plain_jpeg_size

log = structlog.get_logger(__name__)

_QUEUE_TIMEOUT_S = 0.5
"""Seconds that a preview may wait for those before it."""
_GRACE_S = 1.0
"""Seconds past a preview's own deadline after which the child, which should have ended it, is killed."""
_START_PATIENCE_S = 2.0
"""Seconds that a preview waits, besides, for a child that is started for it."""
_UNUSED_S = 600.0
"""Seconds without a preview after which the child is ended."""
_RESTART_PAUSE_S = 1.0
"""Seconds before a child that ended is replaced."""
_FAILURES = OSError, WorkerProcessFailed, TimeoutError


@dataclass(frozen=True, slots=True)
class Preview:
    """A small JPEG and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PreviewWorkerSnapshot:
    """Whether the child is ready, how many previews were made, how often the child was replaced."""

    ready: bool
    made: int
    restarts: int


class PreviewWorker:
    """Keeps one child process (`python -m workers.preview`) and has it make one preview at a time.

    The child takes 14 MB, and most services never need one. So it is started when a preview is wanted, and
    ended when none has been for a while; or, where every refusal has one, it is `kept` from the start on.

    A preview is a favour to a client that is refused, so nothing here raises: without a child, or when it
    fails, there is none. What the child sends is checked, because a thumbnail may have taken it over.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, kept: bool = False) -> None:
        """`clock` is in seconds."""
        self._clock = clock
        self._kept = kept
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        """Set when a child that is wanted has been started, or could not be."""
        self._used_at = clock()
        self._child: WorkerProcess | None = None
        self._exchange_lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._made = 0
        self._restarts = 0
        if kept:
            self._wanted.set()

    def start(self) -> None:
        """Start the child in the background when it is wanted, and replace it whenever it ends."""
        self._task = tasks.supervise(self._keep_child, name="preview worker")

    async def stop(self) -> None:
        """End the child."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def make(self, segment: bytes) -> Preview | None:
        """The preview in an EXIF segment, or None if there is none or it was not made in time."""
        await self._want_child()
        deadline = self._clock() + _QUEUE_TIMEOUT_S
        # It is finished even when the caller has gone: else the answer would be taken for that of the next.
        exchange = asyncio.create_task(self._exchange(segment, deadline))
        done, _ = await asyncio.wait({exchange}, timeout=_QUEUE_TIMEOUT_S + PREVIEW_TIMEOUT_S)
        return exchange.result() if done else None

    async def _want_child(self) -> None:
        """Have a child started if there is to be none yet, and wait a moment for it."""
        self._used_at = self._clock()
        if self._task is not None:
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(_START_PATIENCE_S):
                    await self._tried.wait()

    async def _exchange(self, segment: bytes, deadline: float) -> Preview | None:
        """Send a segment to the child and read the preview, if its turn comes before the deadline."""
        async with self._exchange_lock:
            child = self._child
            if child is None or self._clock() > deadline:
                return None
            try:
                async with asyncio.timeout(PREVIEW_TIMEOUT_S + _GRACE_S):
                    await child.write(make_frame(segment))
                    jpeg = await child.read()
            except _FAILURES as error:
                log.warning("preview worker failed", reason=str(error) or type(error).__name__)
                self._child = None
                child.kill()
                return None
        size = read_plain_jpeg_size(jpeg)
        if size is None or not 0 < min(size) <= max(size) <= MAX_SIDE:
            return None
        self._made += 1
        return Preview(jpeg, *size)

    async def _keep_child(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                if await self._was_unused():
                    continue
            except _FAILURES as error:
                log.error("preview worker did not start", reason=str(error) or type(error).__name__)
            await asyncio.sleep(_RESTART_PAUSE_S)
            self._restarts += 1

    async def _was_unused(self) -> bool:
        """Start one child, and return when it has ended: whether that was because nobody wanted a preview."""
        try:
            child = self._child = await WorkerProcess.start("workers.preview")
        finally:
            self._tried.set()
        try:
            while self._kept or self._seconds_of_use() > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if self._kept else self._seconds_of_use()):
                        log.warning("preview worker ended", status=await child.wait())
                        return False
            self._wanted.clear()
            self._tried.clear()
            return True
        finally:
            self._child = None
            await child.end()

    def _seconds_of_use(self) -> float:
        """For how long the child is to stay, unless another preview is wanted meanwhile."""
        return self._used_at + _UNUSED_S - self._clock()

    def pids(self) -> list[int]:
        """The process id of the child, if there is one."""
        return [] if self._child is None else [self._child.pid]

    def snapshot(self) -> PreviewWorkerSnapshot:
        """The present state, and what was done so far."""
        return PreviewWorkerSnapshot(self._child is not None, self._made, self._restarts)
