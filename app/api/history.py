"""The last minute of the service, second by second, for the charts of the page."""

from collections import deque
from typing import Final

from app.api.service_stats import ServiceStats
from app.server.problems import KINDS

LENGTH: Final = 60
"""Samples kept, one a second."""

_GUARDS: Final = {
    status: [kind.guard for kind in KINDS.values() if kind.guard and kind.status == status]
    for status in (429, 503)
}
"""The guards that refuse with a status."""


def _totals(stats: ServiceStats) -> dict[str, int]:
    """The counters, which only ever grow."""
    return {
        "accepted": stats.engine.jobs.accepted,
        "done": stats.engine.jobs.done,
        "degraded": stats.degraded.degraded,
        **{str(status): sum(stats.refusals[guard] for guard in guards) for status, guards in _GUARDS.items()},
    }


class History:
    """One column for each figure, oldest first: what was counted in a second, or the value at its end."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._columns: dict[str, deque[int]] = {}

    def add(self, stats: ServiceStats) -> None:
        """Add the sample of one more second."""
        totals = _totals(stats)
        sample = {name: total - self._before.get(name, total) for name, total in totals.items()}
        sample["wait_ms"] = stats.engine.upload_queue.estimated_wait_ms
        sample["memory_bytes"] = stats.memory_bytes
        self._before = totals
        for name, value in sample.items():
            self._columns.setdefault(name, deque(maxlen=LENGTH)).append(value)

    def snapshot(self) -> dict[str, list[int]]:
        """The columns, each with as many seconds as there were, at most `LENGTH`."""
        return {name: list(column) for name, column in self._columns.items()}
