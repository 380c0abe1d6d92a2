"""The pacer: how fast the queue drains, and when a refused client should come back."""

import time
from collections.abc import Callable

_FURTHEST = 300.0
"""Seconds; a promise further ahead than this would be a guess."""


class Pacer:
    """Measures the seconds a worker is busy with one job, and hands out moments at that rate.

    The rate is `workers / job_s`, with `job_s` an exponentially weighted mean over some 512 jobs that
    starts as a plain mean, so that the first measurements already count. It is made of busy seconds, not
    of departures: an idle hour teaches it nothing.
    """

    _SAMPLES = 512

    def __init__(
        self, workers: int, *, job_s: float = 0.25, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`job_s` is believed until the first job has been measured."""
        self._workers = workers
        self._job_s = job_s
        self._seen = 0
        self._clock = clock
        self._tail = 0.0

    @property
    def rate(self) -> float:
        """Jobs per second that leave the queue when all workers are busy."""
        return self._workers / self._job_s

    def record(self, busy_s: float) -> None:
        """Count one job that kept a worker busy for so many seconds."""
        self._seen += 1
        self._job_s += (max(busy_s, 0.001) - self._job_s) / min(self._seen, self._SAMPLES)

    def wait(self, jobs: int) -> float:
        """Seconds until so many jobs have left the queue."""
        return jobs / self.rate

    def turn(self, ahead: int, not_before: float = 0) -> float:
        """Seconds until the next free moment that nobody else was promised.

        `ahead` places must come free first; `not_before` is the caller's own earliest time in seconds.
        Each call takes a later moment, one drain interval on, so that the refused do not return at once.
        """
        now = self._clock()
        self._tail = min(max(now + self.wait(ahead), self._tail + 1 / self.rate), now + _FURTHEST)
        return max(self._tail - now, not_before)
