"""The reconciler: finds differences between the store, the queue and this replica's job registry."""

import asyncio
import random
import time
from contextlib import suppress

import structlog

from app.cluster.connection import UNAVAILABLE, StreamFull
from app.cluster.jetstream import JobStream
from app.cluster.job_registry import JobRegistry
from app.storage.interface import Store, StoreUnusable

log = structlog.get_logger(__name__)

_INTERVAL_S = 30.0
"""Longest time between two rounds."""
_SUSPECT_AFTER_S = 30.0
"""Seconds after which a job that is not where it should be counts as lost rather than under way."""


class Reconciler:
    """Compares queue, store and registry at intervals and repairs what differs. The store is right."""

    def __init__(self, registry: JobRegistry, store: Store, job_stream: JobStream) -> None:
        self._registry = registry
        self._store = store
        self._job_stream = job_stream

    async def run(self) -> None:
        """Do one round after the other, without end. A round during an outage is given up."""
        while True:
            await asyncio.sleep(_INTERVAL_S * random.uniform(0.5, 1.0))  # noqa: S311 - so that replicas differ
            with suppress(*UNAVAILABLE, OSError, StoreUnusable, StreamFull):
                await self.round()

    async def round(self) -> None:
        """Look for all kinds of differences once. Raises as `NatsConnection.request` and `Store` do."""
        await self._refresh_silent()
        await self._requeue_lost()
        await self.withdraw_ended()

    async def _refresh_silent(self) -> None:
        """Read the records of jobs whose status has not changed for a while: they may have ended unheard."""
        for known in self._registry:
            if time.monotonic() - known.changed_at < _SUSPECT_AFTER_S:
                continue
            job = await self._store.load(known.handle.job.id)
            if job is None:
                self._registry.end_cancelled(known.handle)
            elif job.is_final:
                self._registry.update(job)

    async def _requeue_lost(self) -> None:
        """Publish accepted jobs that are not in the queue, because their replica died before it did that.

        A job that is in the queue already is refused by the server, and one that has ended meanwhile is
        dropped by the worker that takes it.
        """
        async for job in self._store.pending():
            if job.created_at < time.time() - _SUSPECT_AFTER_S:
                try:
                    await self._job_stream.publish(job)
                except StreamFull as full:
                    if not full.subject:
                        return
                else:
                    log.info("a job was missing from the queue", job=job.id)

    async def withdraw_ended(self) -> None:
        """Take jobs that have ended out of the queue: a killed server may bring back acknowledged messages.

        Raises:
            OSError: the store cannot be read.
            EngineDown, BreakerOpen: NATS is not available.
        """
        for job_id in await self._job_stream.job_ids():
            handle = self._registry.find(job_id)
            job = await self._store.load(job_id) if handle is None else handle.job
            if job is None or job.is_final:
                await self._job_stream.withdraw(job_id)
                log.info("a job that has ended was still in the queue", job=job_id)
            elif job.created_at < time.time() - _SUSPECT_AFTER_S and await self._job_stream.is_passed_over(
                job_id
            ):
                await self._job_stream.withdraw(job_id)  # the next round publishes it again
                log.warning("a job in the queue would never have been delivered", job=job_id)
