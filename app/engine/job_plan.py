"""What a worker is to make of a job: all of its variants at once, or in two batches."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.backpressure.brownout import Brownout
from app.job import Job
from workers.messages import Task
from workers.variants import Variant, read_specs

_read = lru_cache(64)(read_specs)
"""Jobs differ seldom in what they want."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The variants of a job that are made now, and the names of those that are deferred.

    With `stand_in` those made now may be made of the thumbnail embedded in the upload, and are deferred then.
    """

    now: tuple[Variant, ...]
    later: tuple[str, ...] = ()
    stand_in: bool = False


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """The settings that hold for every job.

    `variants` are made for a job that names none, of an image of at most `max_pixels`. One job may take a
    worker `timeout_s` seconds and `memory_bytes` of memory. With `truncated`, what is there of a cut-off file
    is used instead of refusing it; with `blurhash`, the first batch of a job makes a BlurHash as well.
    `background` is the colour that shows through transparency where a format has none. With `stand_ins`, a
    job's most needed variant is made of the thumbnail embedded in the upload during a brownout.
    """

    variants: tuple[Variant, ...]
    max_pixels: int
    timeout_s: float
    memory_bytes: int
    truncated: bool
    blurhash: bool
    background: str = "white"
    stand_ins: bool = False

    def wanted(self, job: Job) -> tuple[Variant, ...]:
        """All variants that the job is to end with."""
        return _read(job.wanted) if job.wanted else self.variants

    def batch(self, job: Job, brownout: Brownout) -> Batch:
        """What to make of the job now.

        These are its deferred variants if it has any. Of a new job all variants are made, or the one with
        the fewest pixels alone during a brownout, if the deferred queue has a place for the rest. That one
        may be provisional, unless a worker has died on the job: perhaps by the thumbnail.
        """
        wanted = self.wanted(job)
        if job.deferred:
            return Batch(tuple(each for each in wanted if each.name in job.deferred))
        needed = min(wanted, key=lambda each: each.area).name
        now, later = brownout.split(job.id, [each.name for each in wanted], needed)
        stand_in = self.stand_ins and bool(later) and not job.deaths
        return Batch(tuple(each for each in wanted if each.name in now), tuple(later), stand_in)

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
            blurhash=self.blurhash and (job.blurhash is None or job.is_provisional),
            background=self.background,
            stand_in=batch.stand_in,
        )
