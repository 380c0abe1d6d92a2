"""The pacer: how fast the queue drains, and how fast uploads can come in."""

import math
from collections.abc import Mapping

_SAMPLES = 512
_LATEST = 32
"""Jobs after which it shows that a brownout has begun or ended."""
_TRIAL = 8
"""Jobs that a trial counts as: the first real ones differ so much that some of them must outweigh it."""
_DOUBT = 16
"""Measurements that it takes to outweigh what was assumed of uploads, or measured by an earlier process."""
_LEAST_S, _MOST_S = 0.001, 86_400.0


class _Mean:
    """An exponentially weighted mean over some latest samples that starts as a plain one."""

    def __init__(self, value: float, weight: int, samples: int = _SAMPLES) -> None:
        """`value` counts as so many samples."""
        self.value = value
        self.weight = weight
        self._samples = samples

    def add(self, sample: float) -> None:
        self.weight = min(self.weight + 1, self._samples)
        self.value += (sample - self.value) / self.weight

    def put_before(self, value: float, weight: int) -> None:
        """Count `value` as so many samples more."""
        self.weight += weight
        self.value += (value - self.value) * weight / self.weight


class DrainRate:
    """Measures the seconds that a worker is busy with one job, and those that an upload keeps its place.

    Both are means of what was seen, not of departures: an idle hour teaches nothing. Jobs made in brief, as
    in a brownout, have a mean of their own, so that the rate follows at once when there are more of either.
    """

    def __init__(self, workers: int, dock: int, *, job_s: float = 0.25) -> None:
        """`job_s` is believed until something has been measured; `dock` uploads come in at once."""
        self.workers = workers
        self._max_receiving = dock
        self._job = _Mean(job_s, 0)
        self._brief_job = _Mean(0.0, 0)
        self._brief_share = _Mean(0.0, 0, _LATEST)
        self._upload = _Mean(0.0, _DOUBT)
        self._seen = False

    @property
    def is_unmeasured(self) -> bool:
        """Whether all that it tells is a guess."""
        return not (self._job.weight or self._brief_job.weight)

    @property
    def jobs_per_s(self) -> float:
        """Jobs per second that leave the queue when all workers are busy."""
        share = self._brief_share.value
        return self.workers / (share * self._brief_job.value + (1 - share) * self._job.value)

    @property
    def uploads_per_s(self) -> float:
        """Uploads per second that can be let in: as many as drain, or fewer where uplinks are slow."""
        return self._max_receiving / max(self._upload.value, self._max_receiving / self.jobs_per_s)

    def calibrate(self, job_s: float) -> None:
        """Reckon with the length of a job that was tried, before there were real ones or among the first."""
        self._job.put_before(min(max(job_s, _LEAST_S), _MOST_S), _TRIAL)

    def record(self, busy_s: float, *, brief: bool = False) -> None:
        """Count one job that kept a worker busy for so many seconds, to be made in `brief` or whole."""
        self._seen = self._seen or not brief
        (self._brief_job if brief else self._job).add(max(busy_s, _LEAST_S))
        self._brief_share.add(brief)

    def record_upload(self, seconds: float) -> None:
        """Count one upload that kept a place in the dock for so many seconds."""
        self._upload.add(seconds)

    def wait(self, jobs: int, whole: int = 0) -> float:
        """Seconds until so many jobs have left the queue, the last of them made `whole` for certain."""
        return (jobs - whole) / self.jobs_per_s + whole * self._job.value / self.workers

    def export(self) -> dict[str, float]:
        """What was measured, for the next process; nothing before the first job, for a trial is soon made."""
        return {"job_s": self._job.value, "upload_s": self._upload.value} if self._seen else {}

    def restore(self, state: Mapping[str, float]) -> None:
        """Begin with what an earlier process measured.

        Raises:
            KeyError, TypeError, ValueError: this is not what `export()` gave.
        """
        if not state:
            return
        job_s, upload_s = float(state["job_s"]), float(state["upload_s"])
        if not (math.isfinite(upload_s) and _LEAST_S <= job_s <= _MOST_S and 0 <= upload_s <= _MOST_S):
            raise ValueError("these are not times of jobs and uploads")
        self._job, self._upload = _Mean(job_s, _DOUBT), _Mean(upload_s, _DOUBT)
        self._seen = True
