"""The last minute: what happened in each of its seconds, for the charts of the page."""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from app.server.problems import KINDS

LENGTH: Final = 60
"""Samples kept, one a second."""

_GUARDS: Final = {
    status: [kind.guard for kind in KINDS.values() if kind.guard and kind.status == status]
    for status in (429, 503)
}


def _totals(stats: Mapping[str, Any]) -> dict[str, int]:
    """What only ever grows."""
    jobs, refusals = stats["jobs"], stats["refusals"]
    return {
        "accepted": jobs["accepted"],
        "done": jobs["done"],
        "degraded": jobs["degraded"],
        **{str(status): sum(refusals[guard] for guard in guards) for status, guards in _GUARDS.items()},
    }


class History:
    """One column for each figure, oldest first: counts of that second, or what was so at its end."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._columns: dict[str, deque[int]] = {}

    def enter(self, stats: Mapping[str, Any]) -> None:
        """Enter the snapshot of one more second."""
        totals = _totals(stats)
        sample = {name: total - self._before.get(name, total) for name, total in totals.items()}
        sample["wait_ms"] = stats["backlog"]["estimated_wait_ms"]
        sample["memory_bytes"] = stats["memory_bytes"]
        self._before = totals
        for name, value in sample.items():
            self._columns.setdefault(name, deque(maxlen=LENGTH)).append(value)

    def snapshot(self) -> dict[str, list[int]]:
        """The columns, each of as many seconds as there were, at most a minute."""
        return {name: list(column) for name, column in self._columns.items()}
