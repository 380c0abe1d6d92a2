"""The rate limiter: one bucket per client, in a table of bounded size."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from app.backpressure.token_bucket import GCRA, Clock, Quota, RateLimited

_MAX_FORGOTTEN = 2
"""Full buckets that are forgotten for each new one. More than one, so that the table shrinks while in use."""
_MAX_INSPECTED = 8
"""Buckets looked at to find those: this keeps the cost constant when the oldest are all far from full."""


@dataclass(frozen=True, slots=True)
class LimiterSnapshot:
    """How full the table is; `overflowing` counts the requests that were charged to the shared bucket."""

    clients: int
    capacity: int
    overflowing: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A token was given. `quota` is what is left; the caller first holds the request for `delay_ns`."""

    quota: Quota
    delay_ns: int


class RateLimiter:
    """One bucket for each client, at most `max_clients` of them, each stored as a single integer.

    A full bucket and no bucket are the same, so forgetting a full one changes nothing. A bucket that is not
    full is never forgotten: a client could empty it anew. The table is ordered by the last token spent, which
    puts the buckets that are most likely full first, and each new client removes up to two of these. In a
    full table, buckets at the front that are far from full are moved to the end, a few at a time. All of this
    takes constant time.

    When the table is full of buckets that are not, new clients share one bucket until there is room again. A
    flood from many addresses therefore costs a fixed amount of memory and gets one client's worth of tokens.

    A bucket may have limits of its `own`. Whoever asks about it names the same ones each time.
    """

    def __init__(
        self, gcra: GCRA, max_clients: int, *, smooth: bool = False, clock: Clock = time.monotonic_ns
    ) -> None:
        """With `smooth`, buckets are leaky: a grant tells how long to hold the request."""
        self.gcra = gcra
        self.capacity = max_clients
        self.is_smooth = smooth
        self._clock = clock
        self._latest = clock()
        # Not a dict: to find the first key of a dict takes longer the more were removed from its front.
        self._full_at: OrderedDict[str, int] = OrderedDict()
        self._own: dict[str, GCRA] = {}
        """The limits of those buckets in the table that have their own."""
        self._shared_full_at = 0
        self._overflowing = 0

    def _now(self) -> int:
        now = self._clock()
        if now > self._latest:
            self._latest = now
        return self._latest

    def acquire(self, client: str, own: GCRA | None = None) -> Grant:
        """Take one of the client's tokens. A refusal takes nothing.

        Raises:
            RateLimited: the bucket is empty.
        """
        now = self._now()
        full_at = self._full_at.get(client)
        if full_at is None:
            if not self._make_room(now):
                self._overflowing += 1
                grant, self._shared_full_at = self._spend(self.gcra, self._shared_full_at, now)
                return grant
            full_at = 0
            if own is not None:
                self._own[client] = own
        grant, self._full_at[client] = self._spend(own or self.gcra, full_at, now)
        self._full_at.move_to_end(client)
        return grant

    def _spend(self, gcra: GCRA, full_at: int, now: int) -> tuple[Grant, int]:
        """Take a token from a bucket. Gives the grant and the bucket's new state; raises RateLimited."""
        after = gcra.spend(full_at, now)
        if after is None:
            raise RateLimited(gcra.quota(full_at, now))
        delay_ns = gcra.delay_ns(full_at, now) if self.is_smooth else 0
        return Grant(gcra.quota(after, now), delay_ns), after

    def peek(self, client: str, own: GCRA | None = None) -> Quota:
        """What the client has left. Spends nothing and adds nobody to the table."""
        now = self._now()
        full_at = self._full_at.get(client)
        if full_at is None:
            if not self._make_room(now):
                return self.gcra.quota(self._shared_full_at, now)
            full_at = 0
        return (own or self.gcra).quota(full_at, now)

    def full_at(self, client: str) -> int:
        """The state of the client's bucket in this table; 0, a full bucket, when there is none."""
        return self._full_at.get(client, 0)

    def put(self, client: str, full_at: int, own: GCRA | None = None) -> None:
        """Replace the state of a client's bucket. Ignored for a client that finds no room in the table."""
        if self._full_at.pop(client, None) is not None or self._make_room(self._now()):
            self._full_at[client] = full_at
            if own is not None:
                self._own[client] = own

    def reconfigure(self, gcra: GCRA) -> None:
        """Change the rate and depth of all buckets without their own. Tokens that were spent stay spent."""
        now = self._now()
        full = now * self.gcra.ticks_per_ns
        for client, full_at in self._full_at.items():
            if client not in self._own:
                self._full_at[client] = 0 if full_at <= full else self.gcra.convert(full_at, now, gcra)
        self._shared_full_at = self.gcra.convert(self._shared_full_at, now, gcra)
        self.gcra = gcra

    def _make_room(self, now: int) -> bool:
        """Forget a few full buckets; whether the table has room for one more."""
        table = self._full_at
        forgotten = 0
        for _ in range(_MAX_INSPECTED):
            oldest = next(iter(table), None)
            if oldest is None or forgotten == _MAX_FORGOTTEN:
                break
            if table[oldest] <= now * self._own.get(oldest, self.gcra).ticks_per_ns:
                del table[oldest]
                self._own.pop(oldest, None)
                forgotten += 1
            elif len(table) < self.capacity:
                break
            else:
                table.move_to_end(oldest)
        return len(table) < self.capacity

    def snapshot(self) -> LimiterSnapshot:
        """How full the table is now."""
        return LimiterSnapshot(len(self._full_at), self.capacity, self._overflowing)
