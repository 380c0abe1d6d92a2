"""Every job under way in the cluster, as one replica knows it from the statuses that it hears."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import structlog

from app.backpressure.ranking import Ranking
from app.cluster.upload_queue import SharedUploadQueue
from app.engine.interface import JobCounters
from app.engine.job_handle import JobHandle
from app.engine.job_registry import log_fields
from app.job import Job, JobStatus
from app.runtime.metrics import Histograms
from app.runtime.recently_used import RecentlyUsed

log = structlog.get_logger(__name__)

_MAX_ENDED = 4096
"""Ended jobs that are remembered, for readers whose record of one is older than the news of its end."""


@dataclass(slots=True, eq=False)
class KnownJob:
    """A job under way. Times are of the registry's clock; `own` tells that this replica accepted it.

    Jobs are begun in the order of their `number`.
    """

    handle: JobHandle
    own: bool
    number: int
    changed_at: float
    begun_at: float | None = None
    waits: bool = False
    """Whether it has a place in the queue."""


class JobRegistry:
    """Brings job handles, the upload queue and the counters up to date with the statuses of jobs."""

    def __init__(
        self,
        upload_queue: SharedUploadQueue,
        histograms: Histograms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` returns seconds."""
        self.counters = JobCounters()
        self._upload_queue = upload_queue
        self._histograms = histograms
        self._clock = clock
        self._known: dict[str, KnownJob] = {}
        self._numbers = itertools.count()
        self._waiting: Ranking[int] = Ranking()
        """The numbers of the jobs that wait."""
        self._ended: RecentlyUsed[tuple[float, int]] = RecentlyUsed(_MAX_ENDED)
        """The runs of jobs whose end was heard of, by id."""

    def __iter__(self) -> Iterator[KnownJob]:
        return iter(list(self._known.values()))

    def find(self, job_id: str) -> JobHandle | None:
        """The job if it is under way."""
        known = self._known.get(job_id)
        return None if known is None else known.handle

    def accept(self, job: Job, client: str) -> JobHandle:
        """Register a job that this replica has accepted."""
        handle = JobHandle(job, client, accepted_at=self._clock())
        self._register(handle, own=True)
        self.counters.accepted += 1
        self.counters.accepted_bytes += job.size
        return handle

    def _register(self, handle: JobHandle, *, own: bool) -> KnownJob:
        former = self._known.get(handle.job.id)
        if former is not None:
            self._set_waits(former, waits=False)
        known = KnownJob(handle, own, next(self._numbers), changed_at=self._clock())
        self._known[handle.job.id] = known
        self._set_waits(known, waits=handle.job.status == JobStatus.QUEUED)
        return known

    def _set_waits(self, known: KnownJob, *, waits: bool) -> None:
        """Give a job its place in the queue, or take it away."""
        if waits and not known.waits:
            self._waiting.add(known.number)
        elif known.waits and not waits:
            self._waiting.remove(known.number)
        known.waits = waits

    def update(self, job: Job) -> None:
        """Take over a status of a job, which may be a moment old."""
        known = self._known.get(job.id)
        if known is None:
            if job.is_final:
                self._ended.put(job.id, job.run)
            elif self._ended.get(job.id) != job.run:
                self._add(job)
        elif not known.handle.cancelled and _follows(job, known.handle.job):
            self._change(known, job)

    def _add(self, job: Job) -> None:
        handle = JobHandle(job, client=job.id)  # only the replica that accepted it knows its client
        known = self._register(handle, own=False)
        if job.status == JobStatus.QUEUED:
            self._upload_queue.add_elsewhere(handle)
        elif job.status == JobStatus.PROCESSING:
            known.begun_at = self._clock()

    def _change(self, known: KnownJob, job: Job) -> None:
        handle, now = known.handle, self._clock()
        before, handle.job = handle.job, job
        if job.state_id == before.state_id:
            return
        known.changed_at = now
        self._set_waits(known, waits=job.status == JobStatus.QUEUED)
        if before.status == JobStatus.QUEUED:
            self._upload_queue.discard(handle)
        elif job.status == JobStatus.QUEUED:  # its worker died: it waits again
            self._upload_queue.add_elsewhere(handle)
        if job.status == JobStatus.PROCESSING and known.begun_at is None:
            known.begun_at = now
            if known.own:
                self._histograms.wait.observe(now - handle.accepted_at)
        if job.is_final:
            self._forget(known)
        for count in range(len(before.made) + 1, len(job.made) + 1):
            handle.publish("variant", f"variant.{count}")
        handle.set_status(job.status)

    def end_cancelled(self, handle: JobHandle) -> Job:
        """End a job whose files are being deleted. Returns the cancelled job."""
        job = handle.job = replace(handle.job, made={}, deferred=(), status=JobStatus.CANCELLED)
        known = self._known.get(job.id)
        if known is not None and known.handle is handle:
            self._upload_queue.discard(handle)
            self._forget(known)
            handle.set_status(JobStatus.CANCELLED)
        return job

    def _forget(self, known: KnownJob) -> None:
        job = known.handle.job
        self._known.pop(job.id, None)
        self._set_waits(known, waits=False)
        self._upload_queue.discard(known.handle)  # where one that was reopened is still counted
        self._ended.put(job.id, job.run)
        if known.begun_at is not None and job.status == JobStatus.DONE:
            self._upload_queue.drain_rate.record(self._clock() - known.begun_at)
        if known.own:
            self._count(job)
            log.info("job ended", **log_fields(job))

    def _count(self, job: Job) -> None:
        if job.status == JobStatus.DONE:
            self.counters.done += 1
        elif job.status == JobStatus.CANCELLED:
            self.counters.cancelled += 1
        else:
            self.counters.failed += 1

    def position(self, handle: JobHandle) -> int | None:
        """The place of a job in the queue, 1 for the next to be begun; None when it does not wait."""
        known = self._known.get(handle.job.id)
        return None if known is None or not known.waits else self._waiting.rank(known.number) + 1


def _follows(job: Job, before: Job) -> bool:
    """Whether a status is of the same run of a job as the one before, or of a later one."""
    return job.created_at == before.created_at and job.reopened >= before.reopened
