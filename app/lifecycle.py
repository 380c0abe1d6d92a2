"""The lifecycle of the service: the order in which its parts start, drain and stop, and the sweep."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from app.engine.interface import Engine
from app.engine.preview_worker import PreviewWorker
from app.runtime import tasks
from app.server.open_requests import OpenRequests
from app.settings import Settings
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_MIN_SWEEP_PERIOD_S, _MAX_SWEEP_PERIOD_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that are started and stopped."""

    settings: Settings
    store: Store
    engine: Engine
    previews: PreviewWorker
    open_requests: OpenRequests

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the parts, and stop them in reverse when the block ends or when one of them did not start."""
        async with AsyncExitStack() as stack:
            await self.store.open()
            stack.push_async_callback(self.store.close)
            stack.push_async_callback(self.engine.stop)
            await self.engine.start()
            self.previews.start()
            stack.push_async_callback(self.previews.stop)
            sweeper = tasks.supervise(self._sweep, name="sweeper")
            stack.push_async_callback(tasks.cancel_and_wait, [sweeper])
            stack.callback(self.open_requests.close)
            log.info("started", workers=self.settings.workers, sandbox=self.engine.snapshot().sandbox)
            yield

    async def drain(self) -> None:
        """Refuse new uploads, finish running jobs within DRAIN_TIMEOUT, then end streams and waits."""
        log.info("draining", timeout_s=self.settings.drain_timeout)
        await self.engine.drain(self.settings.drain_timeout)
        self.open_requests.close()

    async def _sweep(self) -> None:
        """Remove expired images, for ever.

        A sweep begins every twentieth of the retention, so that little is kept for much longer than that.
        """
        period_s = min(_MAX_SWEEP_PERIOD_S, max(_MIN_SWEEP_PERIOD_S, self.settings.retention / 20))
        while True:
            await asyncio.sleep(period_s)
            try:
                removed = await self.store.sweep()
            except OSError as error:
                log.error("sweep failed", reason=str(error))
            else:
                if removed:
                    log.info("expired images removed", images=removed)
