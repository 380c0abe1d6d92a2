"""The parent's half of the preview worker: one warm child, one preview at a time, and never an error."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from app.engine.worker_process import WorkerProcess, WorkerProcessFailed
from workers.frames import framed
from workers.thumbnail import DEADLINE, MAX_SIDE, bare_size

log = structlog.get_logger(__name__)

_PATIENCE = 0.5
"""Seconds that a preview may wait for those before it."""
_GRACE = 1.0
"""Seconds past a preview's own deadline after which the child, who should have ended it, is killed."""
_PAUSE = 1.0
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
    """Whether the child is there, what it has made, how often it was replaced."""

    ready: bool
    made: int
    restarts: int


class PreviewWorker:
    """The child process (`python -m workers.preview`): kept alive, and its every word checked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._child: WorkerProcess | None = None
        self._turn = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._made = 0
        self._restarts = 0

    def start(self) -> None:
        """Have a child started and kept; nothing waits for it."""
        self._keeper = asyncio.create_task(self._keep(), name="previews")

    async def stop(self) -> None:
        """End the child."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})

    async def make(self, segment: bytes) -> Preview | None:
        """The preview in an EXIF segment; None when there is none, or no child to make it in time."""
        by = self._clock() + _PATIENCE
        # Finished even when nobody waits any more: else its answer would be taken for the next one's.
        exchange = asyncio.create_task(self._exchange(segment, by))
        done, _ = await asyncio.wait({exchange}, timeout=_PATIENCE + DEADLINE)
        return exchange.result() if done else None

    async def _exchange(self, segment: bytes, by: float) -> Preview | None:
        async with self._turn:
            child = self._child
            if child is None or self._clock() > by:
                return None
            try:
                async with asyncio.timeout(DEADLINE + _GRACE):
                    await child.write(framed(segment))
                    jpeg = await child.read()
            except _FAILURES as error:
                log.warning("preview worker failed", reason=str(error) or type(error).__name__)
                self._child = None
                child.kill()
                return None
        size = bare_size(jpeg)
        if size is None or not 0 < min(size) <= max(size) <= MAX_SIDE:
            return None
        self._made += 1
        return Preview(jpeg, *size)

    async def _keep(self) -> None:
        """Start the child, and another one whenever it ends."""
        while True:
            try:
                await self._serve()
            except _FAILURES as error:
                log.error("preview worker did not start", reason=str(error) or type(error).__name__)
            await asyncio.sleep(_PAUSE)
            self._restarts += 1

    async def _serve(self) -> None:
        """One child, from its start to its end."""
        child = await WorkerProcess.start("workers.preview")
        try:
            self._child = child
            log.warning("preview worker ended", status=await child.wait())
        finally:
            self._child = None
            await child.end()

    def pids(self) -> list[int]:
        """The process id of the child, while there is one."""
        return [] if self._child is None else [self._child.pid]

    def snapshot(self) -> PreviewWorkerSnapshot:
        """What there is now."""
        return PreviewWorkerSnapshot(self._child is not None, self._made, self._restarts)
