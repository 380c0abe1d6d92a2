"""What a worker is to make of a job: all of its variants at once, or in two batches."""

from dataclasses import dataclass
from pathlib import Path

from app.backpressure.brownout import Brownout
from app.job import Job
from workers.messages import Task
from workers.variants import Variant, read_specs


@dataclass(frozen=True, slots=True)
class Batch:
    """The variants of a job that are made now, and the names of those that are deferred."""

    now: tuple[Variant, ...]
    later: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """The settings that hold for every job.

    `variants` are made for a job that names none, of an image of at most `max_pixels`. One job may take a
    worker `timeout_s` seconds and `memory_bytes` of memory. With `truncated`, what is there of a cut-off file
    is used instead of refusing it; with `blurhash`, the first batch of a job makes a BlurHash as well.
    `background` is the colour that shows through transparency where a format has none.
    """

    variants: tuple[Variant, ...]
    max_pixels: int
    timeout_s: float
    memory_bytes: int
    truncated: bool
    blurhash: bool
    background: str = "white"

    def wanted(self, job: Job) -> tuple[Variant, ...]:
        """All variants that the job is to end with."""
        return read_specs(job.wanted) if job.wanted else self.variants

    def batch(self, job: Job, brownout: Brownout) -> Batch:
        """What to make of the job now.

        These are its deferred variants if it has any. Of a new job all variants are made, or the one with
        the fewest pixels alone during a brownout, if the deferred queue has a place for the rest.
        """
        wanted = self.wanted(job)
        if job.deferred:
            return Batch(tuple(each for each in wanted if each.name in job.deferred))
        needed = min(wanted, key=lambda each: each.area).name
        now, later = brownout.split(job.id, [each.name for each in wanted], needed)
        return Batch(tuple(each for each in wanted if each.name in now), tuple(later))

    def task(self, job: Job, batch: Batch, source: Path, folder: Path) -> Task:
        """The message to a worker: make `batch` of the file `source`, and write it into `folder`."""
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
            background=self.background,
        )
