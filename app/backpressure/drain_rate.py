"""The drain rate: how many jobs per second leave the queue, and how many uploads can come in."""

import math
from collections.abc import Mapping

_MAX_SAMPLES = 512
"""Samples that a mean remembers: a change shows after a few hundred jobs."""
_MAX_SHARE_SAMPLES = 32
"""Samples for the share of reduced jobs, fewer because the beginning and end of a brownout must show soon."""
_CALIBRATION_SAMPLES = 8
"""Jobs that a calibration counts as. The first real ones differ widely, so several must outweigh it."""
_PRIOR_SAMPLES = 16
"""Measurements that a value counts as which was assumed, or measured by an earlier process."""
_MIN_JOB_S, _MAX_S = 0.001, 86_400.0


class _Mean:
    """The plain mean of the first `max_samples` samples, exponentially weighted from then on."""

    def __init__(self, value: float, weight: int, max_samples: int = _MAX_SAMPLES) -> None:
        """`value` counts as `weight` samples."""
        self.value = value
        self.weight = weight
        self._max_samples = max_samples

    def add(self, sample: float) -> None:
        self.weight = min(self.weight + 1, self._max_samples)
        self.value += (sample - self.value) / self.weight

    def add_prior(self, value: float, weight: int) -> None:
        """Count `value` as `weight` samples that came before all others."""
        self.weight += weight
        self.value += (value - self.value) * weight / self.weight


class DrainRate:
    """Measures how long a worker is busy with a job, and how long an upload keeps its receiving slot.

    The rates follow from these durations. Departures per second are not counted: an idle hour would then look
    like a slow one. *Reduced* jobs, for which a brownout defers some variants, have a mean of their own, so
    that the rate follows within a few dozen jobs when a brownout begins or ends.
    """

    def __init__(self, workers: int, max_receiving: int, *, job_s: float = 0.25) -> None:
        """`max_receiving` uploads come in at once; a job is taken to last `job_s` until one was measured."""
        self.workers = workers
        self._max_receiving = max_receiving
        self._full_job = _Mean(job_s, 0)
        self._reduced_job = _Mean(0.0, 0)
        self._reduced_share = _Mean(0.0, 0, _MAX_SHARE_SAMPLES)
        self._upload = _Mean(0.0, _PRIOR_SAMPLES)
        self._has_full_job = False

    @property
    def is_unmeasured(self) -> bool:
        """Whether no job was measured or calibrated yet, so that the rate is a guess."""
        return self._full_job.weight == 0 and self._reduced_job.weight == 0

    @property
    def jobs_per_s(self) -> float:
        """Jobs per second that leave the queue while all workers are busy."""
        share = self._reduced_share.value
        return self.workers / (share * self._reduced_job.value + (1 - share) * self._full_job.value)

    @property
    def uploads_per_s(self) -> float:
        """Uploads per second that can be admitted: as many as drain, or fewer when the uplinks are slow.

        By Little's law, `max_receiving` slots that are each held for s seconds let max_receiving / s through.
        """
        upload_s = self._upload.value
        if upload_s <= 0:
            return self.jobs_per_s
        return min(self.jobs_per_s, self._max_receiving / upload_s)

    def calibrate(self, job_s: float) -> None:
        """Count a trial job, made before the first real ones or among them, that took `job_s` seconds."""
        self._full_job.add_prior(min(max(job_s, _MIN_JOB_S), _MAX_S), _CALIBRATION_SAMPLES)

    def record(self, busy_s: float, *, reduced: bool = False) -> None:
        """Count a job that kept a worker busy for `busy_s` seconds, `reduced` if variants were deferred."""
        if reduced:
            self._reduced_job.add(max(busy_s, _MIN_JOB_S))
            self._reduced_share.add(1.0)
        else:
            self._full_job.add(max(busy_s, _MIN_JOB_S))
            self._reduced_share.add(0.0)
            self._has_full_job = True

    def record_upload(self, seconds: float) -> None:
        """Count one upload that kept a receiving slot for so many seconds."""
        self._upload.add(seconds)

    def wait_s(self, jobs: int, full_jobs: int = 0) -> float:
        """Seconds until `jobs` jobs have left the queue, of which `full_jobs` are known not to be reduced."""
        return (jobs - full_jobs) / self.jobs_per_s + full_jobs * self._full_job.value / self.workers

    def export(self) -> dict[str, float]:
        """What was measured, for the next process; empty before the first full job.

        A calibration alone is not handed on: the next process makes its own, perhaps for other variants.
        """
        if not self._has_full_job:
            return {}
        return {"job_s": self._full_job.value, "upload_s": self._upload.value}

    def restore(self, state: Mapping[str, float]) -> None:
        """Start from what an earlier process exported.

        Raises:
            KeyError, TypeError, ValueError: this is not what `export()` gave; nothing was changed.
        """
        if not state:
            return
        job_s, upload_s = float(state["job_s"]), float(state["upload_s"])
        if not (math.isfinite(upload_s) and _MIN_JOB_S <= job_s <= _MAX_S and 0 <= upload_s <= _MAX_S):
            raise ValueError("the durations of a job and of an upload are out of range")
        self._full_job = _Mean(job_s, _PRIOR_SAMPLES)
        self._upload = _Mean(upload_s, _PRIOR_SAMPLES)
        self._has_full_job = True
