"""The chronicle: every job under way in the cluster, as one replica hears of it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import structlog

from app.cluster.upload_queue import SharedBacklog
from app.engine.interface import JobCounters
from app.engine.job_handle import Live
from app.job import CANCELLED, DONE, PROCESSING, QUEUED, Job
from app.runtime.metrics import Histograms

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Known:
    """A job under way: whether this replica accepted it, when it last changed, and when it was begun."""

    live: Live
    own: bool
    changed_at: float
    begun_at: float | None = None


class Chronicle:
    """Turns records that are heard into what watchers are told and the backlog holds."""

    def __init__(
        self, backlog: SharedBacklog, histograms: Histograms, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counters = JobCounters()
        self._backlog = backlog
        self._histograms = histograms
        self._clock = clock
        self._known: dict[str, Known] = {}

    def __iter__(self) -> Iterator[Known]:
        return iter(list(self._known.values()))

    def live(self, job_id: str) -> Live | None:
        """The job if it is under way."""
        known = self._known.get(job_id)
        return None if known is None else known.live

    def begin(self, job: Job, client: str) -> Live:
        """A job that this replica has accepted."""
        live = Live(job, client, accepted_at=self._clock())
        self._known[job.id] = Known(live, own=True, changed_at=self._clock())
        self.counters.accepted += 1
        return live

    def hear(self, job: Job) -> None:
        """The record of a job as it is, or was a moment ago."""
        known = self._known.get(job.id)
        if known is None:
            if not job.is_final:
                self._meet(job)
        elif not known.live.cancelled and job.created_at == known.live.job.created_at:
            self._follow(known, job)

    def _meet(self, job: Job) -> None:
        live = Live(job, client=job.id)  # whose it is, only its own replica knows
        known = self._known[job.id] = Known(live, own=False, changed_at=self._clock())
        if job.status == QUEUED:
            self._backlog.enter(live)
        elif job.status == PROCESSING:
            known.begun_at = self._clock()

    def _follow(self, known: Known, job: Job) -> None:
        live, now = known.live, self._clock()
        before, live.job = live.job, job
        if job.state_id == before.state_id:
            return
        known.changed_at = now
        if before.status == QUEUED:
            self._backlog.leave(live)
        elif job.status == QUEUED:  # its worker died: it waits again
            self._backlog.enter(live)
        if job.status == PROCESSING and known.begun_at is None:
            known.begun_at = now
            if known.own:
                self._histograms.wait.observe(now - live.accepted_at)
        if job.is_final:
            self._forget(known)
        for count in range(len(before.made) + 1, len(job.made) + 1):
            live.announce("variant", f"variant.{count}")
        live.move(job.status)

    def end_cancelled(self, live: Live) -> Job:
        """A job's files are to go; what it is then."""
        job = live.job = replace(live.job, made={}, deferred=(), status=CANCELLED)
        known = self._known.get(job.id)
        if known is not None and known.live is live:
            self._backlog.leave(live)
            self._forget(known)
            live.move(CANCELLED)
        return job

    def _forget(self, known: Known) -> None:
        job = known.live.job
        self._known.pop(job.id, None)
        if known.begun_at is not None and job.status == DONE:
            self._backlog.pacer.record(self._clock() - known.begun_at)
        if known.own:
            self._count(job)
            log.info("job ended", job=job.id, status=job.status, reason=job.problem and job.problem[0])

    def _count(self, job: Job) -> None:
        if job.status == DONE:
            self.counters.done += 1
        elif job.status == CANCELLED:
            self.counters.cancelled += 1
        else:
            self.counters.failed += 1

    def place(self, live: Live) -> int | None:
        """How many jobs, itself among them, wait until it is begun; None when it does not wait."""
        if live.job.status != QUEUED:
            return None
        place = 1
        for known in self._known.values():
            if known.live is live:
                return place
            place += known.live.job.status == QUEUED
        return None
