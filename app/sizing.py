"""The arithmetic of `spillway size`: from photos an hour to cores, memory, disk and settings.

docs/sizing.md explains it. The figures are those of docs/benchmarks.md, whose machine is an AMD EPYC of the
first generation; one that does a job in half the time has a `speed` of 2.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from workers.shapes import output_size
from workers.variants import Variant


class _Measured(NamedTuple):
    """What making the default variants of one photo takes, in a warm process (`bench.imaging`)."""

    megapixels: float
    cpu_ms: float
    peak_mb: float


class _Written(NamedTuple):
    """What a megapixel of a variant takes in one format."""

    cpu_ms: float
    """Beyond what the same variants take as JPEG (`bench.imaging --out`)."""
    size: float
    """Bytes (`bench.imaging --out`, column `bytes`)."""


PIPELINE: Final = {
    "jpeg": (_Measured(2, 57, 27), _Measured(12, 99, 33), _Measured(48, 218, 33)),
    "png": (_Measured(2, 107, 27), _Measured(12, 413, 79), _Measured(48, 1298, 245)),
    "webp": (_Measured(2, 82, 44), _Measured(12, 311, 197), _Measured(48, 1129, 786)),
    "heic": (_Measured(2, 156, 30), _Measured(12, 764, 99), _Measured(48, 3168, 377)),
}
"""By the format of the photo, from docs/benchmarks.md, "Imaging"."""
UPLOAD_BYTES: Final = {"jpeg": 248_000, "png": 1_120_000, "webp": 93_000, "heic": 239_000}
"""Bytes of a megapixel of a photo: those of the benches' 12 MP."""
WRITTEN: Final = {
    "jpeg": _Written(0, 202_000),
    "webp": _Written(62, 131_000),
    "avif": _Written(530, 192_000),
    "png": _Written(520, 1_440_000),
}
_LADDER_MEGAPIXELS = 2.48
"""What the default variants have of a photo of 4:3, which is what `PIPELINE` was measured with."""
_MORE_MS = 10.0
"""CPU of a megapixel of variants beyond those (`bench.shapes`)."""
JOB_MS: Final = 24.0
"""CPU of a job besides its pipeline: fork, confinement, fresh memory ("Photos through HTTP")."""
TRIAL_MS: Final = 114.0
"""CPU of the whole job of a 12 MP JPEG there: what a machine's own trial photo is compared with."""
_SERVER_MS, _SERVER_MS_PER_MB = 9.0, 1.4
"""CPU of the server for one upload: 13.2 with 3 MB, and 9.7 with half a MB ("The picture as the answer")."""
_SERVER_MB, _WORKER_MB = 135.0, 17.0
"""Memory of the server with its preview worker under a flood, and of each worker that has nothing to do."""
_RECORD_BYTES, _FILE_BYTES = 8192, 2048
"""What a file system takes besides an image's bytes: its folder and record; half a block for each file."""
BUSY: Final = 0.7
"""Share of the processors' time that is used at the peak. Nearer to 1, waits grow without a bound."""
_STORE_HEADROOM = 1.25
MIN_QUEUE: Final = 20


@dataclass(frozen=True, slots=True)
class Demand:
    """What comes in, and how long it is kept."""

    photos_per_s: float
    """The mean of a day."""
    peak: float
    """How many times as many come in the busiest minutes."""
    megapixels: float
    format: str
    upload_bytes: float
    variants: Sequence[Variant]
    retention_s: float
    keeps_originals: bool
    wait_s: float
    """Longest time that a photo may wait in the queue."""
    speed: float = 1.0
    """How many times as fast as the machine of the figures each core is."""


@dataclass(frozen=True, slots=True)
class Need:
    """What that takes. Sizes are in bytes."""

    peak_photos_per_s: float
    worker_ms: float
    server_ms: float
    cores: int
    workers: int
    replicas: int
    """Server processes, each of which uses one core."""
    memory: float
    disk: float
    """What a file system shows; twelve months of images if they are kept for good."""
    files: float
    """Inodes: each image has a folder and a record besides its variants."""
    queue_size: int
    store_max_bytes: float
    disk_per_day: float
    network_bits_per_s: float
    """Uploads at the peak."""


YEAR_S: Final = 365 * 86_400.0


def estimate(demand: Demand) -> Need:
    """What a demand takes."""
    at_once = demand.photos_per_s * demand.peak
    pipeline_ms, peak_mb = _pipeline(demand.format, demand.megapixels)
    worker_ms = (JOB_MS + pipeline_ms + _written_ms(demand)) / demand.speed
    server_ms = (_SERVER_MS + _SERVER_MS_PER_MB * demand.upload_bytes / 1e6) / demand.speed
    workers = math.ceil(at_once * worker_ms / 1000 / BUSY)
    queue = max(MIN_QUEUE, math.ceil(workers * 1000 / worker_ms * demand.wait_s))
    image = _variant_bytes(demand) + (demand.upload_bytes if demand.keeps_originals else 0)
    kept = demand.photos_per_s * min(demand.retention_s, YEAR_S)
    counted = (kept * image + queue * demand.upload_bytes) * _STORE_HEADROOM
    beside = _RECORD_BYTES + _FILE_BYTES * len(demand.variants)
    return Need(
        peak_photos_per_s=at_once,
        worker_ms=worker_ms,
        server_ms=server_ms,
        cores=math.ceil(at_once * (worker_ms + server_ms) / 1000 / BUSY),
        workers=workers,
        replicas=math.ceil(at_once * server_ms / 1000 / BUSY),
        memory=1e6 * (_SERVER_MB + workers * (_WORKER_MB + peak_mb)),
        disk=counted + kept * beside,
        files=kept * (2 + len(demand.variants) + demand.keeps_originals),
        queue_size=queue,
        store_max_bytes=counted,
        disk_per_day=demand.photos_per_s * 86_400 * (image + beside),
        network_bits_per_s=at_once * demand.upload_bytes * 8,
    )


def _pipeline(format_: str, megapixels: float) -> tuple[float, float]:
    """CPU milliseconds and megabytes of the default variants of a photo, between what was measured.

    A smaller photo than the smallest counts as that; beyond the largest the last two are continued.
    """
    rows = PIPELINE[format_]
    if megapixels <= rows[0].megapixels:
        return rows[0].cpu_ms, rows[0].peak_mb
    pairs = list(pairwise(rows))
    at = min(bisect([row.megapixels for row in rows[1:]], megapixels), len(pairs) - 1)
    low, high = pairs[at]
    share = (megapixels - low.megapixels) / (high.megapixels - low.megapixels)
    return (
        low.cpu_ms + share * (high.cpu_ms - low.cpu_ms),
        low.peak_mb + share * (high.peak_mb - low.peak_mb),
    )


def _variant_megapixels(demand: Demand) -> list[tuple[str, float]]:
    """Format and megapixels of each variant of a photo of 4:3."""
    height = math.sqrt(demand.megapixels * 1e6 * 3 / 4)
    size = max(1, round(height * 4 / 3)), max(1, round(height))
    shapes = ((each.format, output_size(each, size)) for each in demand.variants)
    return [(format_, width * height / 1e6) for format_, (width, height) in shapes]


def _written_ms(demand: Demand) -> float:
    """CPU of these variants beyond that of the default ones. Fewer count as those: decoding is most of it."""
    made = _variant_megapixels(demand)
    more = max(0.0, sum(area for _, area in made) - _LADDER_MEGAPIXELS)
    return more * _MORE_MS + sum(area * WRITTEN[format_].cpu_ms for format_, area in made)


def _variant_bytes(demand: Demand) -> float:
    return sum(area * WRITTEN[format_].size for format_, area in _variant_megapixels(demand))
