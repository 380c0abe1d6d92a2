"""Settlement: what a worker's outcome makes of a job, brought to the store."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import structlog

from app.engine.job_plan import Batch, JobDefaults
from app.job import MAX_DEATHS, Job, JobStatus
from app.storage.interface import Store, VariantRejected
from workers.messages import Done, Failed

log = structlog.get_logger(__name__)


class OutcomeRecorder:
    """Turns outcomes into records."""

    def __init__(
        self, store: Store, job_defaults: JobDefaults, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` dates the records, in seconds since the epoch."""
        self._store = store
        self._job_defaults = job_defaults
        self._clock = clock

    async def settle(self, job: Job, batch: Batch, outcome: Done | Failed, folder: Path | None) -> Job:
        """What the job has become, durably: queued, or deferred as before, when it is to be tried again.

        Raises:
            OSError: the store could not be written, and the job's record is what it was.
        """
        if isinstance(outcome, Failed):
            settled = self._failed(job, outcome)
        else:
            settled = await self._made(job, batch, outcome, folder)
        await self._store.save(settled)
        return settled

    def _failed(self, job: Job, failure: Failed) -> Job:
        """The job to be tried again, failed, or done without what was put off."""
        deaths = job.deaths + (failure.reason == "worker-died")
        again = job.deaths < deaths < MAX_DEATHS
        if job.deferred:
            job = replace(job, deaths=deaths)
        else:
            job = replace(job, deaths=deaths, status=JobStatus.QUEUED if again else JobStatus.FAILED)
        if again:
            return job
        problem = (failure.reason, failure.detail)
        return replace(job, finished_at=self._clock(), deferred=(), problem=problem)

    async def _made(self, job: Job, batch: Batch, done: Done, folder: Path | None) -> Job:
        """The job with what the worker made; failed if that is not what was asked for."""
        try:
            # Names are unique and name their own files: `workers.parser` takes nothing else.
            if folder is None or {item.name for item in done.made} != {each.name for each in batch.now}:
                raise VariantRejected("not what was asked for")
            made = job.made | await self._store.take_variants(job, folder, done.made)
        except VariantRejected as rejection:
            log.error("worker's output rejected", job=job.id, reason=str(rejection))
            unusable = Failed(job.id, "worker-died", "The process that worked on it gave no usable answer.")
            return self._failed(replace(job, deaths=MAX_DEATHS), unusable)
        return replace(
            job,
            status=JobStatus.DONE,
            finished_at=self._clock(),
            source=asdict(done.source),
            blurhash=done.blurhash or job.blurhash,
            made={each.name: made[each.name] for each in self._job_defaults.wanted(job) if each.name in made},
            deferred=batch.later,
            deaths=0,
        )
