"""The limiter: a bucket for each client, in a table with a bound."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from app.backpressure.token_bucket import GCRA, Clock, Quota, RateLimited

_CLEARED = 2
"""Places cleared for each newcomer, who takes one of them: the table shrinks even while it is used."""
_LOOKS = 8
"""Places looked at for that: as many may owe long, and the next newcomer looks behind them."""


@dataclass(frozen=True, slots=True)
class LimiterSnapshot:
    """How full the table is; `overflowing` counts the requests that met the shared bucket."""

    clients: int
    capacity: int
    overflowing: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A token that was given: what is left, and how long the caller must hold the request first."""

    quota: Quota
    delay_ns: int


class RateLimiter:
    """One bucket per client, each a single integer, at most `max_clients` of them.

    The table is ordered by last spend, so the oldest entry is the likeliest to be full, and each newcomer
    clears at most two of these: O(1). A full bucket equals no bucket, so forgetting one changes nothing;
    a bucket that still owes is never forgotten. In a full table those who owe long are passed over, a few
    at a time, and become the youngest. When all owe, newcomers share one bucket until there is room: a
    flood of addresses buys its sender nothing.
    """

    def __init__(
        self, meter: GCRA, max_clients: int, *, smooth: bool = False, clock: Clock = time.monotonic_ns
    ) -> None:
        """`smooth` makes it a leaky bucket: a grant carries the delay after which the request may pass."""
        self.meter = meter
        self.capacity = max_clients
        self.is_smooth = smooth
        self._clock = clock
        self._latest = clock()
        # Not a dict: finding the first entry of one walks over all that were taken from its front.
        self._full_at: OrderedDict[str, int] = OrderedDict()
        self._shared = 0
        self._overflowing = 0

    def _now(self) -> int:
        now = self._clock()
        if now > self._latest:
            self._latest = now
        return self._latest

    def acquire(self, client: str) -> Grant:
        """Take one of the client's tokens. Asking is what costs: an empty bucket stays empty.

        Raises:
            RateLimited: the bucket is empty.
        """
        now = self._now()
        table = self._full_at
        before = table.get(client)
        newcomer = before is None
        shared = newcomer and not self._has_room(now)
        if before is None:
            before = self._shared if shared else 0
        self._overflowing += shared
        after = self.meter.spend(before, now)
        if after is None:
            raise RateLimited(self.meter.quota(before, now))
        if shared:
            self._shared = after
        else:
            if not newcomer:
                del table[client]  # put back at the end: the table stays in order of last spend
            table[client] = after
        delay = -(-self.meter.debt(before, now) // self.meter.per_ns) if self.is_smooth else 0
        return Grant(self.meter.quota(after, now), delay)

    def peek(self, client: str) -> Quota:
        """What the client has left, without spending."""
        now = self._now()
        full_at = self._full_at.get(client)
        if full_at is None:
            full_at = 0 if self._has_room(now) else self._shared
        return self.meter.quota(full_at, now)

    def full_at(self, client: str) -> int:
        """The client's bucket as far as it is known here; 0 when it is not."""
        return self._full_at.get(client, 0)

    def put(self, client: str, full_at: int) -> None:
        """Take over a bucket that is kept elsewhere, where there is room for it."""
        if self._full_at.pop(client, None) is not None or self._has_room(self._now()):
            self._full_at[client] = full_at

    def reconfigure(self, meter: GCRA) -> None:
        """Go on under another law, for all clients at once: what they have spent stays spent."""
        now = self._now()
        for client, full_at in self._full_at.items():
            self._full_at[client] = self.meter.convert(full_at, now, meter)
        self._shared = self.meter.convert(self._shared, now, meter)
        self.meter = meter

    def _has_room(self, now: int) -> bool:
        table = self._full_at
        cleared = 0
        for _ in range(_LOOKS):
            oldest = next(iter(table), None)
            if oldest is None or cleared == _CLEARED:
                break
            if table[oldest] <= now * self.meter.per_ns:
                del table[oldest]
                cleared += 1
            elif len(table) < self.capacity:
                break
            else:
                table.move_to_end(oldest)
        return len(table) < self.capacity

    def snapshot(self) -> LimiterSnapshot:
        """How full the table is now."""
        return LimiterSnapshot(len(self._full_at), self.capacity, self._overflowing)
