"""Counts refusals for the statistics and the log."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from app.runtime.tasks import cancel_and_wait, supervise
from app.server.problems import KINDS, Kind

log = structlog.get_logger(__name__)

_BODY_STATUSES = (400, 408, 413, 415)
"""The statuses with which an upload's body, or what its head says of the body, is refused."""
_TICKETS = ("ticket", "beyond-ticket")
"""The kinds of problems with which an upload is refused for its ticket; they count by their statuses too."""
_LOG_PERIOD_S = 1.0


class RefusalCounter:
    """One counter for each guard, and one for each status with which bodies and tickets are refused."""

    def __init__(self) -> None:
        guards = [kind.guard for kind in KINDS.values() if kind.guard is not None]
        statuses = *_BODY_STATUSES, *(KINDS[slug].status for slug in _TICKETS)
        self._counts: Counter[str] = Counter(dict.fromkeys([*guards, *map(str, statuses)], 0))
        self._logged = self._counts.copy()

    def count(self, kind: Kind, method: str) -> None:
        """Count one refusal of a request with this method; a problem that is no refusal counts nowhere."""
        if kind.guard is not None:
            self._counts[kind.guard] += 1
        elif method == "POST" and (kind.status in _BODY_STATUSES or kind.slug in _TICKETS):
            self._counts[str(kind.status)] += 1

    def snapshot(self) -> dict[str, int]:
        """The counters: how many were refused since the start."""
        return dict(self._counts)

    @asynccontextmanager
    async def logging(self) -> AsyncIterator[None]:
        """Log the new refusals while the block lasts.

        One line a second at most, because a line for each refusal would fill the disk in a flood.
        """
        self._logged = self._counts.copy()
        task = supervise(self._log_periodically, "log of refusals")
        try:
            yield
        finally:
            await cancel_and_wait([task])

    async def _log_periodically(self) -> None:
        while True:
            await asyncio.sleep(_LOG_PERIOD_S)
            if fresh := self._counts - self._logged:
                log.info("refused in the last second", **fresh)
                self._logged = self._counts.copy()
