"""The rate limiter of many replicas.

The token bucket of each client is one integer in a shared key-value bucket, changed by compare-and-set and
computed as on one machine (see `app.backpressure.token_bucket`).

Times are those of the machines' clocks: a clock that is a second wrong gives or takes a second's tokens. One
that is far ahead leaves buckets that count as empty, no worse, where the clock is right.
"""

import asyncio
import time
from weakref import WeakValueDictionary

import structlog
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from app.backpressure.rate_limiter import Grant, RateLimiter
from app.backpressure.token_bucket import GCRA, Clock, Quota, RateLimited, ceil_div
from app.cluster.connection import UNAVAILABLE, EngineDown, NatsConnection, StreamFull
from app.cluster.jetstream import rate_bucket
from app.runtime.recently_used import RecentlyUsed

log = structlog.get_logger(__name__)

_MAX_TRIES = 8
"""Attempts to take one token. Each that fails is a success of another replica, so few are needed."""


class SharedRateLimiter:
    """Takes tokens from the shared bucket, and from a local one while NATS is not available.

    Every token taken here is entered in the local limiter too, so it continues from where the client stood.
    Other replicas only ever take tokens out, so a bucket that is empty in the local limiter is empty.
    """

    def __init__(self, connection: NatsConnection, local: RateLimiter, clock: Clock = time.time_ns) -> None:
        """`local` must use the same `clock`, one that all replicas share (nanoseconds since the epoch)."""
        self.local = local
        self._connection = connection
        self._clock = clock
        self._bucket: KeyValue | None = None
        self._own_bucket: KeyValue | None = None
        """Where the buckets with limits of their own are, made when the first of them is used."""
        self._known: RecentlyUsed[tuple[int, int]] = RecentlyUsed(local.capacity)
        """The state and revision of each client's bucket as last written or read here."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def prepare(self) -> None:
        """Create the shared bucket if it is missing. Raises EngineDown, BreakerOpen."""
        self._known.clear()
        self._own_bucket = None
        self._bucket = await rate_bucket(self._connection, self.local.gcra, self.local.capacity)

    async def acquire(self, client: str, own: GCRA | None = None) -> Grant:
        """Take one of the client's tokens; `own` are its own limits, if it has any. Raises RateLimited."""
        lock = self._locks.setdefault(client, asyncio.Lock())
        async with lock:  # only replicas compete for a bucket, not the requests of one replica
            try:
                return await self._acquire(client, own)
            except (*UNAVAILABLE, StreamFull):
                return self.local.acquire(client, own)

    async def _acquire(self, client: str, own: GCRA | None) -> Grant:
        gcra = own or self.local.gcra
        bucket = await self._bucket_of(own)
        known = self._known.get(client)
        for _ in range(_MAX_TRIES):
            full_at, revision = known if known is not None else await self._read(bucket, client)
            now = self._clock()
            before = gcra.bounded(max(full_at, self.local.full_at(client)), now)
            after = gcra.spend(before, now)
            if after is None:
                if known is None:
                    self._remember(client, before, revision, own)
                raise RateLimited(gcra.quota(before, now))
            known = None
            try:
                revision = await self._write(bucket, client, after, revision)
            except KeyWrongLastSequenceError:
                continue
            self._remember(client, after, revision, own)
            delay = gcra.delay_ns(before, now) if self.local.is_smooth else 0
            return Grant(gcra.quota(after, now), delay)
        next_token_ms = ceil_div(gcra.ticks_per_token, gcra.ticks_per_ms)
        raise RateLimited(Quota(gcra.limit, gcra.window_s, 0, next_token_ms, gcra.policy))

    async def peek(self, client: str, own: GCRA | None = None) -> Quota:
        """What the client has left over all replicas. Takes nothing."""
        try:
            full_at, revision = await self._read(await self._bucket_of(own), client)
        except (*UNAVAILABLE, StreamFull):
            return self.local.peek(client, own)
        known = self._known.get(client)
        if known is not None and known[1] == revision:
            full_at = known[0]  # which was bounded when it was read first
        gcra, now = own or self.local.gcra, self._clock()
        return gcra.quota(gcra.bounded(max(full_at, self.local.full_at(client)), now), now)

    def _remember(self, client: str, full_at: int, revision: int, own: GCRA | None) -> None:
        self.local.put(client, full_at, own)
        self._known.put(client, (full_at, revision))

    async def _read(self, bucket: KeyValue, client: str) -> tuple[int, int]:
        """The state of the client's bucket and its revision; (0, 0), a full bucket, when there is none."""
        try:
            async with self._connection.request():
                entry = await bucket.get(_key(client))
        except KeyNotFoundError:
            return 0, 0
        return _number(entry.value), entry.revision or 0

    async def _write(self, bucket: KeyValue, client: str, full_at: int, revision: int) -> int:
        """Write the state of a bucket and return its new revision.

        Raises:
            KeyWrongLastSequenceError: its present revision is not `revision`.
        """
        async with self._connection.request():
            return await bucket.update(_key(client), b"%d" % full_at, last=revision)

    async def _bucket_of(self, own: GCRA | None) -> KeyValue:
        """The shared bucket of clients with these limits. Raises EngineDown, BreakerOpen, StreamFull."""
        if self._bucket is None:
            raise EngineDown("not connected yet")
        if own is None or own.decides_as(self.local.gcra):
            return self._bucket
        if self._own_bucket is None:
            self._own_bucket = await rate_bucket(self._connection, None, self.local.capacity)
        return self._own_bucket


def _key(client: str) -> str:
    """The client as a key: NATS allows no colon in one, so an IPv6 address is written in hexadecimal."""
    return client.encode().hex()


def _number(value: bytes | None) -> int:
    try:
        return int(value or b"0")
    except ValueError:
        return 0
