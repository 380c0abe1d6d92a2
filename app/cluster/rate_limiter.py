"""The limiter of many replicas: each client's bucket is one integer in a shared table, changed by
compare-and-set, under the very law of one machine.

Moments are those of the machines' clocks, so a clock that is wrong by a second is wrong by a second's tokens.
"""

import asyncio
import time
from collections import OrderedDict
from weakref import WeakValueDictionary

import structlog
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from app.backpressure.rate_limiter import Grant, RateLimiter
from app.backpressure.token_bucket import NANOSECONDS, Clock, Quota, RateLimited
from app.cluster.connection import UNAVAILABLE, NatsConnection, StreamFull
from app.cluster.jetstream import buckets

log = structlog.get_logger(__name__)

_TRIES = 8
"""Each try in vain is another replica's success, so that few are needed."""


class SharedRateLimiter:
    """Spends in the shared table, and in the local one while that is out of reach.

    The local table hears of every token spent here, so that it goes on from where the client stood; and since
    a bucket is only ever emptied by others, what it calls empty is empty.
    """

    def __init__(self, connection: NatsConnection, local: RateLimiter, clock: Clock = time.time_ns) -> None:
        """`local` runs by the same `clock`, which all replicas share."""
        self.local = local
        self.contended = 0
        """Spendings that were refused because others were faster time and again."""
        self._connection = connection
        self._clock = clock
        self._table: KeyValue | None = None
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def prepare(self) -> None:
        """Have the shared table there. Raises EngineDown, BreakerOpen."""
        self._known.clear()
        self._table = await buckets(self._connection, self.local.meter, self.local.capacity)

    async def acquire(self, client: str) -> Grant:
        """Take one of the client's tokens. Raises RateLimited."""
        lock = self._locks.setdefault(client, asyncio.Lock())
        async with lock:  # replicas contend, but not the requests of one
            try:
                return await self._acquire(client)
            except (*UNAVAILABLE, StreamFull):
                return self.local.acquire(client)

    async def _acquire(self, client: str) -> Grant:
        meter = self.local.meter
        bucket = self._known.get(client)
        for _ in range(_TRIES):
            before, revision = bucket if bucket is not None else await self._read(client)
            before = max(before, self.local.full_at(client))
            now = self._clock()
            after = meter.spend(before, now)
            if after is None:
                if bucket is None:
                    self._remember(client, before, revision)
                raise RateLimited(meter.quota(before, now))
            bucket = None
            try:
                revision = await self._write(client, after, revision)
            except KeyWrongLastSequenceError:
                continue
            self._remember(client, after, revision)
            delay = -(-meter.debt(before, now) // meter.per_ns) if self.local.is_smooth else 0
            return Grant(meter.quota(after, now), delay)
        self.contended += 1
        wait = -(-meter.per_token // meter.per_ns)
        raise RateLimited(Quota(meter.size, meter.window_s, 0, -(-wait * 1000 // NANOSECONDS)))

    async def peek(self, client: str) -> Quota:
        """What the client has left, wherever it spent. Spends nothing."""
        try:
            before, _ = await self._read(client)
        except UNAVAILABLE:
            return self.local.peek(client)
        return self.local.meter.quota(max(before, self.local.full_at(client)), self._clock())

    def _remember(self, client: str, full_at: int, revision: int) -> None:
        self.local.put(client, full_at)
        self._known[client] = (full_at, revision)
        self._known.move_to_end(client)
        while len(self._known) > self.local.capacity:
            self._known.popitem(last=False)

    async def _read(self, client: str) -> tuple[int, int]:
        """The bucket and its revision; a full one when there is none."""
        table = self._shared()
        try:
            async with self._connection.request():
                entry = await table.get(_key(client))
        except KeyNotFoundError:
            return 0, 0
        return _number(entry.value), entry.revision or 0

    async def _write(self, client: str, full_at: int, revision: int) -> int:
        """Change the bucket if it has that revision. Raises KeyWrongLastSequenceError."""
        table = self._shared()
        async with self._connection.request():
            return await table.update(_key(client), b"%d" % full_at, last=revision)

    def _shared(self) -> KeyValue:
        assert self._table is not None  # noqa: S101 - `prepare` comes first
        return self._table


def _key(client: str) -> str:
    """A client's name in the alphabet of keys, to which no colon belongs."""
    return client.encode().hex()


def _number(value: bytes | None) -> int:
    try:
        return int(value or b"0")
    except ValueError:
        return 0
