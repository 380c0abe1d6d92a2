"""The reconciler: finds differences between the store, the queue and this replica's job registry."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog

from app.cluster.connection import UNAVAILABLE, StreamFull
from app.cluster.jetstream import JobStream
from app.cluster.job_registry import JobRegistry
from app.job import Job
from app.storage.interface import Store, StoreUnusable

log = structlog.get_logger(__name__)

_INTERVAL_S = 30.0
"""Longest time between two rounds."""
_MAX_INTERVAL_S = 120.0
"""Longest time between two rounds after failures: each round that fails doubles the time."""
_MAX_FAILURES = 5
"""Failures after which a round is given up: the store or NATS is away."""
_SUSPECT_AFTER_S = 30.0
"""Seconds after which a job that is not where it should be counts as lost rather than under way."""


_MAX_READ_AGAIN = 100
"""Of the jobs that are where they should be, how many records a round reads, lest one has ended unheard."""


_AT_ONCE = 500
"""Jobs that are looked at before anything else is done."""

T = TypeVar("T")


class _RoundGivenUp(Exception):
    """Raised when so much has failed that the rest of a round would fail too."""


class Reconciler:
    """Compares queue, store and registry at intervals and repairs what differs. The store is right."""

    def __init__(self, registry: JobRegistry, store: Store, job_stream: JobStream) -> None:
        self._registry = registry
        self._store = store
        self._job_stream = job_stream
        self._waiting: dict[str, Job] = {}
        """The jobs that this round has found unfinished in the store, so that none is read twice."""
        self._trusted: set[str] = set()
        """The jobs whose records this round does not read: they are in the queue, and known here."""
        self._failures = 0
        """Failures in this round."""

    async def run(self) -> None:
        """Do one round after the other, without end, and fewer while they fail."""
        interval_s = _INTERVAL_S
        while True:
            await asyncio.sleep(interval_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that replicas differ
            complete = await self.round()
            interval_s = _INTERVAL_S if complete else min(_MAX_INTERVAL_S, 2 * interval_s)

    async def round(self) -> bool:
        """Look for all kinds of differences once; lost jobs first. Returns whether nothing has failed.

        What fails for one job is logged and keeps no other job from being looked at.
        """
        self._waiting, self._failures = {}, 0
        try:
            for step in (self._requeue_lost, self._refresh_silent, self.withdraw_ended):
                with self._failures_counted():
                    await step()
        except _RoundGivenUp:
            log.warning("comparing queue and store was given up until later")
        finally:
            self._waiting, self._trusted = {}, set()
        return not self._failures

    @contextmanager
    def _failures_counted(self, job_id: str | None = None) -> Iterator[None]:
        """Log a failure and go on after the block. Raises _RoundGivenUp after too many."""
        try:
            yield
        except (*UNAVAILABLE, OSError, StoreUnusable, StreamFull) as error:
            self._failures += 1
            log.warning("queue and store could not be compared", job=job_id, reason=str(error))
            if self._failures >= _MAX_FAILURES:
                raise _RoundGivenUp from None

    async def _requeue_lost(self) -> None:
        """Publish accepted jobs that are not in the queue, because their replica died before it did that.

        A job that is in the queue already is refused by the server, and one that has ended meanwhile is
        dropped by the worker that takes it.
        """
        queued: set[str] = set()
        with self._failures_counted():
            queued = set(await self._job_stream.job_ids())
        expected = [job_id for job_id in queued if self._registry.find(job_id) is not None]
        self._trusted = set(expected).difference(random.sample(expected, min(len(expected), _MAX_READ_AGAIN)))
        has_room = True
        async for job in self._store.pending(except_for=self._trusted):
            self._waiting[job.id] = job
            if has_room and job.id not in queued and job.created_at < time.time() - _SUSPECT_AFTER_S:
                with self._failures_counted(job.id):
                    has_room = await self._publish(job)

    async def _publish(self, job: Job) -> bool:
        """Put a job into the queue, unless it is there. Returns whether there was room."""
        try:
            await self._job_stream.publish(job)
        except StreamFull as full:
            return full.subject
        log.info("a job was missing from the queue", job=job.id)
        return True

    async def _refresh_silent(self) -> None:
        """Read the records of jobs whose status has not changed for a while: they may have ended unheard."""
        async for known in _some_at_a_time(self._registry):
            job_id = known.handle.job.id
            is_read = job_id in self._waiting or job_id in self._trusted
            if is_read or time.monotonic() - known.changed_at < _SUSPECT_AFTER_S:
                continue
            with self._failures_counted(job_id):
                job = await self._store.load(job_id)
                if job is None:
                    self._registry.end_cancelled(known.handle)
                elif job.is_final:
                    self._registry.update(job)

    async def withdraw_ended(self) -> None:
        """Take jobs that have ended out of the queue: a killed server may bring back acknowledged messages.

        Raises:
            EngineDown, BreakerOpen: NATS is not available.
        """
        passed_over = await self._job_stream.passed_over()
        async for job_id in _some_at_a_time(await self._job_stream.job_ids()):
            with self._failures_counted(job_id):
                await self._withdraw_if_ended(job_id, passed_over)

    async def _withdraw_if_ended(self, job_id: str, passed_over: int) -> None:
        handle = self._registry.find(job_id)
        job = self._waiting.get(job_id) if handle is None else handle.job
        if job is None:
            job = await self._store.load(job_id)
        if job is None or job.is_final:
            await self._job_stream.withdraw(job_id)
            log.info("a job that has ended was still in the queue", job=job_id)
            return
        is_old = job.created_at < time.time() - _SUSPECT_AFTER_S
        if passed_over and is_old and (await self._job_stream.number(job_id) or math.inf) <= passed_over:
            await self._job_stream.withdraw(job_id)  # the next round publishes it again
            log.warning("a job in the queue would never have been delivered", job=job_id)


async def _some_at_a_time(jobs: Iterable[T]) -> AsyncIterator[T]:
    """`jobs`, of which there may be a hundred thousand, with pauses in which other things are done."""
    for number, job in enumerate(jobs, 1):
        yield job
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
