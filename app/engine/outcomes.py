"""The outcomes of a job given to a worker, and what each makes of the job's record in the store."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from app.engine.job_plan import Batch, JobDefaults
from app.job import MAX_DEATHS, Job, JobStatus
from app.runtime import tracing
from app.storage.interface import JobGone, Store, VariantRejected
from app.webhooks.events import changes
from app.webhooks.outbox import Outbox
from workers.messages import Done, Failed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job was cancelled, or its files are gone: its record is not written any more."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """The job is to be tried again later, because something failed that says nothing of it.

    That is the store, if `cause` says nothing else.
    """

    reason: str
    cause: str = "the store failed"


Outcome = Done | Failed | Postponed | Cancelled
"""What came of a job that was given to a worker: only the first two change the job's record."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One job given to a worker once: the variants asked for, the outcome, the folder written into."""

    batch: Batch
    outcome: Outcome
    folder: Path | None


def outcome_of(answer: Done | Failed) -> Outcome:
    """The outcome that a worker's answer stands for."""
    if isinstance(answer, Failed):
        if answer.reason == "cancelled":
            return Cancelled()
        if answer.reason == "no-space":
            return Postponed(answer.detail)
        if answer.reason == "no-process":
            return Postponed(answer.detail, "there was no process for the job")
    return answer


class OutcomeRecorder:
    """Writes what workers' outcomes make of jobs to the store."""

    def __init__(
        self,
        store: Store,
        job_defaults: JobDefaults,
        outbox: Outbox,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Events go to the `outbox`; `clock` dates the records, in seconds since the epoch."""
        self.store = store
        self.job_defaults = job_defaults
        self.outbox = outbox
        self._clock = clock

    async def settle(self, job: Job, batch: Batch, outcome: Done | Failed, folder: Path | None) -> Job:
        """Write and return the job as it is after an outcome of `batch`, made in `folder`.

        A job that is to be tried again is queued, or still done with variants deferred. An unexpected
        exception counts as a death of the worker: else a job that makes this program fail would be tried
        without end.

        Raises:
            OSError: the store could not be written, and the job's record is what it was.
            EventNotKept: the same, because its event could not be kept.
            JobGone: the job's files have been removed.
        """
        try:
            with tracing.span("record", job.trace, job=job.id) as span:
                if isinstance(outcome, Failed):
                    span.fail(outcome.reason)
                return await self._settle(job, batch, outcome, folder)
        except (OSError, JobGone):
            raise
        except Exception:
            log.exception("the outcome of a job could not be recorded", job=job.id)
            died = Failed(job.id, "worker-died", "What was made of it could not be kept.")
            return await self._settle(job, batch, died, None)

    async def _settle(self, job: Job, batch: Batch, outcome: Done | Failed, folder: Path | None) -> Job:
        if isinstance(outcome, Failed):
            settled = self._failed(job, outcome)
        else:
            settled = await self._made(job, batch, outcome, folder)
        async with self.outbox.announcing(changes(job, settled, self._clock())):
            await self.store.save(settled)
        return settled

    def _failed(self, job: Job, failure: Failed) -> Job:
        """The job after a failure: to be tried again, failed, or done without its deferred variants.

        Only the death of a worker may have another cause than the job, so only that is tried again.
        """
        deaths = job.deaths
        if failure.reason == "worker-died":
            deaths += 1
        is_tried_again = job.deaths < deaths < MAX_DEATHS
        job = replace(job, deaths=deaths)
        if not job.deferred:
            job.status = JobStatus.QUEUED if is_tried_again else JobStatus.FAILED
        if is_tried_again:
            return job
        job = replace(job, deferred=(), problem=(failure.reason, failure.detail))
        job.mark_finished(self._clock())
        return job

    async def _made(self, job: Job, batch: Batch, done: Done, folder: Path | None) -> Job:
        """The job with the variants that the worker made; failed if they are not those of the batch."""
        try:
            # Names are unique and name their own files: `workers.parser` accepts nothing else.
            if folder is None or {item.name for item in done.made} != {each.name for each in batch.now}:
                raise VariantRejected("not what was asked for")
            provisional = {item.name for item in done.made if item.provisional}
            if provisional and not batch.stand_in:
                raise VariantRejected("made of the thumbnail without leave")
            taken = await self.store.take_variants(job, folder, done.made)
        except VariantRejected as rejection:
            log.error("worker's output rejected", job=job.id, reason=str(rejection))
            unusable = Failed(job.id, "worker-died", "The process that worked on it gave no usable answer.")
            return self._failed(replace(job, deaths=MAX_DEATHS), unusable)
        made, wanted = job.made | taken, [each.name for each in self.job_defaults.wanted(job)]
        source = done.source
        job = replace(
            job,
            status=JobStatus.DONE,
            source={"format": source.format, "width": source.width, "height": source.height},
            blurhash=done.blurhash or job.blurhash,
            made={name: made[name] for name in wanted if name in made},
            deferred=tuple(name for name in wanted if name in provisional or name in batch.later),
            deaths=0,
        )
        job.mark_finished(self._clock())
        return job
