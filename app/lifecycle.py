"""The lifecycle of the service: the order in which its parts start, drain and stop, and the sweep."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from app.engine.interface import Engine
from app.engine.preview_worker import PreviewWorker
from app.runtime import tasks, tracing
from app.server.open_requests import OpenRequests
from app.settings import Settings
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_MIN_SWEEP_PERIOD_S, _MAX_SWEEP_PERIOD_S = 1.0, 60.0
_LONG_START_S = 2.0
"""Seconds after which the log tells that the start still goes on."""


class Service:
    """The parts that are started and stopped."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        previews: PreviewWorker,
        open_requests: OpenRequests,
        *,
        serves_while_starting: bool = False,
    ) -> None:
        """With `serves_while_starting`, only `started()` waits for the end of the start, not `running()`."""
        self._settings = settings
        self._store = store
        self._engine = engine
        self._previews = previews
        self._open_requests = open_requests
        self._serves_while_starting = serves_while_starting
        self._starting: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the parts, and stop them in reverse when the block ends or when one of them did not start.

        In the block images are served. Uploads are refused until the start is over, which takes a while where
        the store has many images.
        """
        async with AsyncExitStack() as stack:
            tracing.start()
            stack.push_async_callback(tracing.stop)
            await self._store.open()
            stack.push_async_callback(self._store.close)
            stack.push_async_callback(self._engine.stop)
            self._previews.start()
            stack.push_async_callback(self._previews.stop)
            stack.callback(self._open_requests.close)
            beside = [
                asyncio.create_task(self._start(), name="start"),
                tasks.supervise(self._tell_long_start, name="long start"),
                tasks.supervise(self._sweep, name="sweeper"),
            ]
            self._starting = beside[0]
            stack.push_async_callback(tasks.cancel_and_wait, beside)
            if not self._serves_while_starting:
                await self._starting
            yield

    async def _start(self) -> None:
        await self._store.survey()
        await self._engine.start()
        log.info("started", workers=self._settings.workers, sandbox=self._engine.snapshot().sandbox)

    async def started(self) -> None:
        """Return when uploads are accepted.

        Raises:
            StoreUnusable, EngineUnusable, PoolNotStarted: the service cannot start.
        """
        assert self._starting is not None  # noqa: S101 - `running()` comes first
        await asyncio.shield(self._starting)

    async def drain(self) -> None:
        """Refuse new uploads, finish running jobs within DRAIN_TIMEOUT, then end streams and waits.

        A start that is not over is given up: nothing was accepted yet.
        """
        if self._starting is not None and self._starting.done():
            log.info("draining", timeout_s=self._settings.drain_timeout)
            await self._engine.drain(self._settings.drain_timeout)
        elif self._starting is not None:
            log.info("stopping before the start was over")
            await tasks.cancel_and_wait([self._starting])
        self._open_requests.close()

    async def _tell_long_start(self) -> None:
        await asyncio.sleep(_LONG_START_S)
        if self._starting is not None and not self._starting.done():
            log.info("still starting: images are served, uploads are refused until the start is over")

    async def _sweep(self) -> None:
        """Remove expired images, for ever.

        A sweep begins every twentieth of the retention, so that little is kept for much longer than that.
        """
        assert self._starting is not None  # noqa: S101 - `running()` has set it
        await asyncio.wait([self._starting])
        period_s = min(_MAX_SWEEP_PERIOD_S, max(_MIN_SWEEP_PERIOD_S, self._settings.retention / 20))
        while True:
            await asyncio.sleep(period_s)
            try:
                removed = await self._store.sweep()
            except OSError as error:
                log.error("sweep failed", reason=str(error))
            else:
                if removed:
                    log.info("expired images removed", images=removed)
