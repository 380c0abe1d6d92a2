"""The token bucket and the leaky bucket, exact in integers.

A bucket is stored as one integer: the moment at which it will be full again. This is the virtual-scheduling
form of the generic cell rate algorithm (GCRA, ITU-T I.371 annex A; there the integer is called the
theoretical arrival time). It decides exactly as a bucket that is refilled continuously, but nothing ever has
to be refilled: to compare that integer with the clock is enough.

Moments are counted in *ticks*. The length of a tick is chosen for each rate so that a nanosecond and the time
for one token are both whole numbers of ticks. All arithmetic is therefore exact, and nothing is rounded until
it is shown to somebody.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""

Clock = Callable[[], int]
"""Monotonic time in nanoseconds."""


def ceil_div(dividend: int, divisor: int) -> int:
    """The quotient of two integers, rounded up. Exact for any size, which `math.ceil(a / b)` is not."""
    return -(-dividend // divisor)


class RateLimited(Exception):
    """Raised when a client has spent its tokens; `quota` tells when it gets the next one.

    `retry_after` is the time to that token in seconds.
    """

    def __init__(self, quota: "Quota") -> None:
        super().__init__(f"next token in {quota.next_token_ms} ms")
        self.quota = quota
        self.retry_after = quota.next_token_ms / 1000


@dataclass(frozen=True, slots=True)
class Quota:
    """What one client has left: `remaining` whole tokens of `limit`.

    `window_s` is the time in which an empty bucket fills, in whole seconds; `next_token_ms` is the time until
    there is one token more, 0 when the bucket is full. Both are rounded up. `policy` names the rate limit.
    """

    limit: int
    window_s: int
    remaining: int
    next_token_ms: int
    policy: str = "ip"

    @property
    def not_before(self) -> float:
        """Seconds for which the client has no token; 0 when it has one now."""
        return 0.0 if self.remaining else self.next_token_ms / 1000


class GCRA:
    """The arithmetic of a bucket that gains `rate` tokens per second and holds `depth` of them.

    An instance holds the parameters and no state. The state of a bucket is the integer `full_at`, the tick at
    which it will be full again; the methods take it, and `spend()` gives the new one. A bucket is full when
    `full_at` is not later than now, so 0 stands for a bucket that was never used.

    Most callers want `GCRA.token_bucket()` or `GCRA.leaky_bucket()`. Both decide in the same way; they differ
    in what a depth means, and in that a leaky bucket's caller holds each request for `delay_ns()`.
    """

    __slots__ = ("limit", "max_debt", "policy", "ticks_per_ms", "ticks_per_ns", "ticks_per_token", "window_s")

    def __init__(self, rate: float, depth: Fraction, policy: str = "ip") -> None:
        """`policy` names this rate limit where clients are told of it.

        Raises ValueError when `rate` is not above 0 or `depth` is less than one token.
        """
        if rate <= 0 or depth < 1:
            raise ValueError("a bucket needs a rate above 0 and room for one token")
        exact_rate = Fraction(str(rate))  # as it was written: 0.1 is one tenth, not the nearest double
        self.ticks_per_ns = exact_rate.numerator * depth.denominator
        self.ticks_per_ms = self.ticks_per_ns * 1_000_000
        self.ticks_per_token = exact_rate.denominator * NANOSECONDS * depth.denominator
        self.max_debt = int(depth * self.ticks_per_token)
        """Ticks that an empty bucket takes to fill."""
        self.limit = int(depth)
        """Whole tokens in a full bucket."""
        self.window_s = math.ceil(self.limit / exact_rate)
        self.policy = policy

    @classmethod
    def token_bucket(cls, rate: float, burst: int, policy: str = "ip") -> Self:
        """A bucket that saves up to `burst` tokens and gains `rate` more each second."""
        return cls(rate, Fraction(burst), policy)

    @classmethod
    def leaky_bucket(cls, rate: float, max_delay: float, policy: str = "ip") -> Self:
        """A bucket that lets one request through each 1/`rate` seconds, held for `max_delay` s at most."""
        return cls(rate, Fraction(str(rate)) * Fraction(str(max_delay)) + 1, policy)

    def decides_as(self, other: "GCRA") -> bool:
        """Whether states of the two mean the same, whatever the names of their policies."""
        own = self.ticks_per_ns, self.ticks_per_token, self.max_debt
        return own == (other.ticks_per_ns, other.ticks_per_token, other.max_debt)

    def debt(self, full_at: int, now_ns: int) -> int:
        """Ticks until the bucket is full."""
        return max(0, full_at - now_ns * self.ticks_per_ns)

    def bounded(self, full_at: int, now_ns: int) -> int:
        """The state of a bucket as another clock wrote it, which may be ahead: at most an empty bucket."""
        return min(full_at, now_ns * self.ticks_per_ns + self.max_debt)

    def spend(self, full_at: int, now_ns: int, n: int = 1) -> int | None:
        """Take n tokens. Gives the new `full_at`, or None when there are fewer: then nothing is taken."""
        now = now_ns * self.ticks_per_ns
        after = max(now, full_at) + n * self.ticks_per_token
        return after if after - now <= self.max_debt else None

    def wait_ns(self, full_at: int, now_ns: int, n: int = 1) -> int:
        """Nanoseconds, rounded up, until n tokens can be taken; 0 when they can be taken now.

        Raises:
            ValueError: the bucket never holds n tokens.
        """
        allowed_debt = self.max_debt - n * self.ticks_per_token
        if allowed_debt < 0:
            raise ValueError(f"{n} tokens never fit a bucket of {self.limit}")
        return ceil_div(max(0, self.debt(full_at, now_ns) - allowed_debt), self.ticks_per_ns)

    def delay_ns(self, full_at: int, now_ns: int) -> int:
        """Nanoseconds, rounded up, for which a leaky bucket in this state holds the next request.

        Requests that are held until the bucket is full again pass 1/rate seconds apart.
        """
        return ceil_div(self.debt(full_at, now_ns), self.ticks_per_ns)

    def convert(self, full_at: int, now_ns: int, target: "GCRA") -> int:
        """The `full_at` under which `target` lacks as many tokens as this lacks now, as far as it has room.

        Fractions of a token are kept, rounded up to a tick, so that a change of the rate gives nothing away.
        """
        debt = ceil_div(self.debt(full_at, now_ns) * target.ticks_per_token, self.ticks_per_token)
        return now_ns * target.ticks_per_ns + min(debt, target.max_debt)

    def quota(self, full_at: int, now_ns: int) -> Quota:
        """What is left, in whole tokens, and the time until there is one more."""
        unused = self.max_debt - self.debt(full_at, now_ns)
        remaining = unused // self.ticks_per_token
        next_token_ms = 0
        if remaining < self.limit:
            missing = (remaining + 1) * self.ticks_per_token - unused
            next_token_ms = ceil_div(missing, self.ticks_per_ms)
        return Quota(self.limit, self.window_s, remaining, next_token_ms, self.policy)


class _Bucket:
    """One bucket and its clock. A clock that runs backwards is taken to stand still."""

    def __init__(self, gcra: GCRA, clock: Clock) -> None:
        self.gcra = gcra
        self._clock = clock
        self._latest = clock()
        self._full_at = 0

    def _now(self) -> int:
        self._latest = max(self._latest, self._clock())
        return self._latest

    def _spend(self, n: int, now: int) -> bool:
        if n < 1:
            raise ValueError("a bucket gives one token or more")
        after = self.gcra.spend(self._full_at, now, n)
        if after is None:
            return False
        self._full_at = after
        return True

    def wait_ns(self, n: int = 1) -> int:
        """Nanoseconds, rounded up, until n tokens can be taken; 0 when they can be taken now.

        Raises:
            ValueError: the bucket never holds n tokens.
        """
        return self.gcra.wait_ns(self._full_at, self._now(), n)

    def snapshot(self) -> Quota:
        """What is left now."""
        return self.gcra.quota(self._full_at, self._now())


class TokenBucket(_Bucket):
    """Holds up to `burst` tokens, gains `rate` of them per second, and starts full.

    It is the bouncer of a club: a few guests who come together may all enter at once, but over the evening no
    more enter than the rate allows, and nobody is made to wait inside the door.

    Invariant: over any t seconds it gives at most burst + rate * t tokens. Most callers want `allow()`.
    """

    def __init__(self, rate: float, burst: int, clock: Clock = time.monotonic_ns) -> None:
        super().__init__(GCRA.token_bucket(rate, burst), clock)

    def allow(self, n: int = 1) -> bool:
        """Take n tokens now, or none of them. Raises ValueError when n is less than 1."""
        return self._spend(n, self._now())


class LeakyBucket(_Bucket):
    """Lets requests through evenly, one each 1/`rate` seconds, and holds each for up to `max_delay` seconds.

    Invariant: requests that wait as long as they were told pass at least 1/rate seconds apart. Callers that
    can hold a request want `delay_ns()`; `allow()` is for those that cannot.
    """

    def __init__(self, rate: float, max_delay: float, clock: Clock = time.monotonic_ns) -> None:
        super().__init__(GCRA.leaky_bucket(rate, max_delay), clock)

    def delay_ns(self, n: int = 1) -> int | None:
        """Nanoseconds for which to hold this request of n tokens; None when that would be too long.

        Raises:
            ValueError: n is less than 1.
        """
        now = self._now()
        delay = self.gcra.delay_ns(self._full_at, now)
        return delay if self._spend(n, now) else None

    def allow(self, n: int = 1) -> bool:
        """Take n tokens if the request need not be held at all. Raises ValueError when n is less than 1."""
        now = self._now()
        return self.gcra.debt(self._full_at, now) == 0 and self._spend(n, now)
