"""Orders: what a worker is told to make of a job, all at once or in two parts."""

from dataclasses import dataclass
from pathlib import Path

from app.backpressure.brownout import Brownout
from app.job import Job
from workers.messages import Task as Task
from workers.variants import Variant, parse_variants


@dataclass(frozen=True, slots=True)
class Batch:
    """The variants of a job that are made now, and the names of those that are put off."""

    now: tuple[Variant, ...]
    later: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What holds for every job: `timeout_s` in seconds, `memory_bytes` for one process.

    `variants` are made for a job that names none; `truncated` takes what is there of a cut-off file.
    """

    variants: tuple[Variant, ...]
    max_pixels: int
    timeout_s: float
    memory_bytes: int
    truncated: bool
    blurhash: bool

    def wanted(self, job: Job) -> tuple[Variant, ...]:
        """All variants that a job is to end with."""
        return parse_variants(",".join(job.wanted)) if job.wanted else self.variants

    def batch(self, job: Job, brownout: Brownout) -> Batch:
        """What to make of a job now: what was put off, or all of it, or the smallest when in a brownout."""
        wanted = self.wanted(job)
        if job.deferred:
            return Batch(tuple(each for each in wanted if each.name in job.deferred))
        needed = min(wanted, key=lambda each: each.side).name
        now, later = brownout.split(job.id, [each.name for each in wanted], needed)
        return Batch(tuple(each for each in wanted if each.name in now), tuple(later))

    def task(self, job: Job, batch: Batch, source: Path, folder: Path) -> Task:
        """The order to a worker: make a part of `source`, in `folder`."""
        return Task(
            id=job.id,
            source=str(source),
            folder=str(folder),
            variants=tuple(variant.spec for variant in batch.now),
            max_pixels=self.max_pixels,
            timeout_s=self.timeout_s,
            memory_bytes=self.memory_bytes,
            truncated=self.truncated,
            blurhash=self.blurhash and job.blurhash is None,
        )
