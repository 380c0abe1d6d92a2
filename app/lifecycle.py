"""The running service: its parts, the order in which they start, and how they wind down."""

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


@dataclass(frozen=True, slots=True)
class Service:
    """What lives between start and stop."""

    settings: Settings
    store: Store
    engine: Engine
    previews: PreviewWorker
    open_requests: OpenRequests

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the parts in order; unwind in reverse, even after a start that failed half way."""
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
        """Take nothing new, finish what runs, end the streams."""
        log.info("draining", timeout_s=self.settings.drain_timeout)
        await self.engine.drain(self.settings.drain_timeout)
        self.open_requests.close()

    async def _sweep(self) -> None:
        """Remove what has expired, often enough that little of it is kept too long."""
        period = min(60.0, max(1.0, self.settings.retention / 20))
        while True:
            await asyncio.sleep(period)
            try:
                removed = await self.store.sweep()
            except OSError as error:
                log.error("sweep failed", reason=str(error))
            else:
                if removed:
                    log.info("expired images removed", images=removed)
