"""The token bucket and the leaky bucket, exact in integers.

A bucket is one integer: the moment at which it will be full again. That is the virtual-scheduling form
of the generic cell rate algorithm (ITU-T I.371, annex A), which decides exactly as a bucket that is
refilled continuously, yet has nothing to refill. Moments are counted in *ticks*, chosen for each rate so
that a nanosecond and a token are both whole numbers of them; nothing is ever rounded until it is shown.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

NANOSECONDS = 1_000_000_000

Clock = Callable[[], int]
"""Monotonic time in nanoseconds."""


class RateLimited(Exception):
    """Raised when a client has spent its tokens; `quota` tells when the next one comes."""

    def __init__(self, quota: "Quota") -> None:
        super().__init__(f"next token in {quota.next_token_ms} ms")
        self.quota = quota
        self.retry_after = quota.next_token_ms / 1000


@dataclass(frozen=True, slots=True)
class Quota:
    """What one client has left: whole tokens of `limit`, and the time to the next one (0 when full)."""

    limit: int
    window_s: int
    remaining: int
    next_token_ms: int

    @property
    def not_before(self) -> float:
        """Seconds before which the client has no token to come back with."""
        return 0.0 if self.remaining else self.next_token_ms / 1000


class GCRA:
    """The law of a bucket: `rate` tokens per second, of which `depth` tokens may be owed.

    It holds no state; a bucket's whole state is the integer `full_at` that its methods take and give.
    A full bucket is any `full_at` that is not after now, so a bucket never seen is 0.
    """

    __slots__ = ("depth", "per_ns", "per_token", "size", "window_s")

    def __init__(self, rate: float, depth: Fraction) -> None:
        if rate <= 0 or depth < 1:
            raise ValueError("a bucket needs a rate above 0 and room for one token")
        exact = Fraction(str(rate))  # as it was written: .1 is one tenth, not the nearest double
        scale = depth.denominator
        self.per_ns = exact.numerator * scale
        self.per_token = exact.denominator * NANOSECONDS * scale
        self.depth = int(depth * self.per_token)
        self.size = int(depth)
        self.window_s = -int(-self.size // exact)

    def debt(self, full_at: int, now_ns: int) -> int:
        """Ticks until the bucket is full."""
        return max(0, full_at - now_ns * self.per_ns)

    def spend(self, full_at: int, now_ns: int, n: int = 1) -> int | None:
        """The bucket after n tokens are taken, or None (and nothing taken) when it holds fewer."""
        now = now_ns * self.per_ns
        after = (max(now, full_at)) + n * self.per_token
        return after if after - now <= self.depth else None

    def wait_ns(self, full_at: int, now_ns: int, n: int = 1) -> int:
        """Nanoseconds, rounded up, until n tokens can be taken; 0 when they can be now.

        Raises:
            ValueError: n tokens never fit.
        """
        room = self.depth - n * self.per_token
        if room < 0:
            raise ValueError(f"{n} tokens never fit a bucket of {self.size}")
        return -(-max(0, self.debt(full_at, now_ns) - room) // self.per_ns)

    def convert(self, full_at: int, now_ns: int, law: "GCRA") -> int:
        """This bucket under another law: it owes as many tokens, but no more than the new one can."""
        owed = -(-self.debt(full_at, now_ns) * law.per_token // self.per_token)
        return now_ns * law.per_ns + min(owed, law.depth)

    def quota(self, full_at: int, now_ns: int) -> Quota:
        """What is left, in whole tokens, and the time to one more."""
        remaining = (self.depth - self.debt(full_at, now_ns)) // self.per_token
        wait = self.wait_ns(full_at, now_ns, remaining + 1) if remaining < self.size else 0
        return Quota(self.size, self.window_s, remaining, -(-wait // 1_000_000))


def token_bucket_gcra(rate: float, burst: int) -> GCRA:
    """The law of a token bucket: up to `burst` tokens saved, `rate` more each second."""
    return GCRA(rate, Fraction(burst))


def leaky_bucket_gcra(rate: float, max_delay: float) -> GCRA:
    """The law of a leaky bucket: one token each 1/rate seconds, taken up to `max_delay` seconds early."""
    return GCRA(rate, Fraction(str(rate)) * Fraction(str(max_delay)) + 1)


class _Bucket:
    """One bucket: a meter, its state, and a clock that is not let run backwards."""

    def __init__(self, meter: GCRA, clock: Clock) -> None:
        self.meter = meter
        self._clock = clock
        self._latest = clock()
        self._full_at = 0

    def _now(self) -> int:
        self._latest = max(self._latest, self._clock())
        return self._latest

    def _spend(self, n: int, now: int) -> bool:
        if n < 1:
            raise ValueError("a bucket gives one token or more")
        after = self.meter.spend(self._full_at, now, n)
        if after is None:
            return False
        self._full_at = after
        return True

    def wait_ns(self, n: int = 1) -> int:
        """Nanoseconds until n tokens can be taken, rounded up; after that wait `n` tokens are there.

        Raises:
            ValueError: n tokens never fit the bucket.
        """
        return self.meter.wait_ns(self._full_at, self._now(), n)

    def snapshot(self) -> Quota:
        """What is left now."""
        return self.meter.quota(self._full_at, self._now())


class TokenBucket(_Bucket):
    """Holds up to `burst` tokens and gains `rate` of them a second; starts full.

    Invariant: over any t seconds it gives at most burst + rate * t tokens. Most callers want `allow()`.
    """

    def __init__(self, rate: float, burst: int, clock: Clock = time.monotonic_ns) -> None:
        super().__init__(token_bucket_gcra(rate, burst), clock)

    def allow(self, n: int = 1) -> bool:
        """Take n tokens now, or none of them."""
        return self._spend(n, self._now())


class LeakyBucket(_Bucket):
    """Lets one request through each 1/`rate` seconds, evenly; early ones wait up to `max_delay` seconds.

    Invariant: requests that do wait what they were told pass at least 1/rate seconds apart.
    """

    def __init__(self, rate: float, max_delay: float, clock: Clock = time.monotonic_ns) -> None:
        super().__init__(leaky_bucket_gcra(rate, max_delay), clock)

    def delay_ns(self, n: int = 1) -> int | None:
        """Nanoseconds to hold this request of n tokens, or None when the wait would be too long."""
        now = self._now()
        delay = -(-self.meter.debt(self._full_at, now) // self.meter.per_ns)
        return delay if self._spend(n, now) else None

    def allow(self, n: int = 1) -> bool:
        """Take n tokens if they are due without any wait."""
        now = self._now()
        return self.meter.debt(self._full_at, now) == 0 and self._spend(n, now)
