"""The connection to NATS JetStream, and what the engine keeps there.

    spillway-jobs     work queue, file: a message for each job that waits or runs, its subject the job's own
    spillway-dead     file: jobs that were given up because they kept ending their workers
    spillway-leases   memory: a message for each place in the dock
    KV spillway-status, file: the last known record of each job, for whoever watches
    KV spillway-rate-…, memory: each client's bucket, one for each law

One subject for each job and at most one message on it: however often a publish is repeated whose answer did
not come, the queue has the job once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import nats
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, KeyValueError, NotFoundError
from nats.js.kv import KeyValue

from app.breaker import Breaker, BreakerOpen, Pass
from app.bucket import Meter
from app.engine import EngineUnusable

log = structlog.get_logger(__name__)

JOBS, DEAD, LEASES, STATUS = "spillway-jobs", "spillway-dead", "spillway-leases", "spillway-status"
WORKERS = "workers"
"""The one durable consumer of the queue."""
ACK_WAIT = 15.0
"""Seconds after which a job whose worker is silent is given to another."""
_FULL = 10077
"""What the server answers when a stream, or a subject of it, has as many messages as it may."""
_CONNECT_S = 1.0
_PATIENCE = 0.35
"""Seconds for the answer to a question; two in vain make less than the second in which an outage shows."""
_OPENING_S = 3.0
"""Seconds to make what is not there yet."""
_BYTES_PER_CLIENT = 512
_STATUS_S = 300.0
"""Seconds for which a status is kept: for who comes later, and it has to read them all."""
_DEAD_S = 7 * 86_400.0


class EngineDown(Exception):  # noqa: N818 - says what is the matter
    """Raised when the engine does not answer, or cannot do its part."""


class Full(Exception):  # noqa: N818 - says what is the matter
    """Raised when the engine itself refuses one more; `subject`: because there is that very one already."""

    def __init__(self, *, subject: bool) -> None:
        super().__init__("there is one already" if subject else "there is no room")
        self.subject = subject


class Link:
    """The connection. It comes back by itself; `breaker` tells meanwhile that nobody is there."""

    def __init__(self, servers: Sequence[str], breaker: Breaker) -> None:
        self.breaker = breaker
        self.name = ",".join(server.rpartition("@")[2].removeprefix("nats://") for server in servers)
        self.stale = False
        """Whether the connection is new, or the engine was away: what hangs on either is to be made anew."""
        self._failed_at = 0.0
        self._servers = list(servers)
        self._replicas = 3 if len(servers) >= 3 else 1
        self._client = Client()
        self._js: JetStreamContext | None = None

    async def open(self) -> None:
        """Connect. Raises EngineUnusable when nobody answers within seconds."""

        async def reconnected() -> None:
            self.stale = True

        told = "no answer"

        async def failed(error: Exception) -> None:
            nonlocal told
            told = str(error) or told
            log.debug("engine connection", reason=repr(error))

        try:
            async with asyncio.timeout(_CONNECT_S * 5):
                self._client = await nats.connect(
                    self._servers,
                    name="spillway",
                    pending_size=0,  # nothing is buffered for a server that is not there
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.25,
                    connect_timeout=_CONNECT_S,
                    ping_interval=1,
                    max_outstanding_pings=2,
                    reconnected_cb=reconnected,
                    error_cb=failed,
                )
        except (NatsError, OSError, TimeoutError) as error:
            raise EngineUnusable(
                f"the engine at {self.name} cannot be reached: {str(error) or told}"
            ) from None
        self._js = self._client.jetstream(timeout=_OPENING_S)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Around what a start asks. Raises EngineUnusable when the engine does not do its part."""
        try:
            yield
        except AWAY as error:
            raise EngineUnusable(f"the engine at {self.name} cannot be used: {error}") from None

    async def close(self) -> None:
        """Let go of it, without waiting for one that is away."""
        if self._js is None:
            return
        with suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_S):
                await self._client.close()

    @property
    def client(self) -> Client:
        """The connection itself, for what is told without being kept."""
        return self._client

    @asynccontextmanager
    async def asking(self, patience: float = _PATIENCE) -> AsyncIterator[JetStreamContext]:
        """Around one question, and counted by the breaker.

        Raises:
            BreakerOpen: nobody is asked just now.
            EngineDown: there was no answer within `patience` seconds, or that it cannot.
            Full: there is no room for one more.
            KeyValueError: a key is not there, or not as it was.
        """
        assert self._js is not None  # noqa: S101 - `open` comes first
        leave, asked = self.breaker.enter(), time.monotonic()
        try:
            async with asyncio.timeout(patience):
                yield self._js
            self.breaker.succeed(leave)
        except KeyValueError:
            raise
        except (NatsError, OSError, TimeoutError) as error:
            if isinstance(error, APIError) and error.err_code == _FULL:
                raise Full(subject="per subject" in (error.description or "")) from None
            self.stale = True
            self._fail(leave, asked, patience)
            raise EngineDown(str(error) or "no answer") from None
        finally:
            self.breaker.exclude(leave)  # of no account after an outcome

    def _fail(self, leave: Pass, asked: float, patience: float) -> None:
        """Count a failure, unless it says no more than the last one did, or was this process's own.

        Questions that waited side by side are one in vain; and where the time to wait was passed by as much
        again, it was this process that did not get to run.
        """
        now = time.monotonic()
        if asked >= self._failed_at and now - asked < 2 * patience:
            self.breaker.fail(leave)
        self._failed_at = now

    async def reach(self) -> None:
        """Find out whether anybody is there at all, which says nothing of whether they can do their part.

        Raises:
            BreakerOpen, EngineDown: as `asking` does.
        """
        assert self._js is not None  # noqa: S101 - `open` comes first
        leave, asked = self.breaker.enter(), time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._js.account_info()
        except (NatsError, OSError, TimeoutError) as error:
            self._fail(leave, asked, _PATIENCE)
            raise EngineDown(str(error) or "no answer") from None
        finally:
            self.breaker.exclude(leave)

    # --- what is kept there ----------------------------------------------------------------------------

    async def prepare(self, places: int, dock: int, lease_s: float) -> None:
        """Have the streams there. The queue only ever grows: a server drops what is beyond a new bound."""
        async with self.asking(_OPENING_S) as js:
            await self._fit(js, places)
            await js.add_consumer(
                JOBS,
                ConsumerConfig(
                    durable_name=WORKERS,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=ACK_WAIT,
                    max_deliver=-1,
                    max_ack_pending=100_000,
                    max_waiting=10_000,
                ),
            )
            await self._keep(
                js,
                StreamConfig(
                    name=DEAD,
                    subjects=[f"{_subject(DEAD)}.*"],
                    storage=StorageType.FILE,
                    max_msgs=10_000,
                    max_age=_DEAD_S,
                    num_replicas=self._replicas,
                ),
            )
            await self._keep(
                js,
                StreamConfig(
                    name=LEASES,
                    subjects=[_subject(LEASES)],
                    storage=StorageType.MEMORY,
                    max_msgs=dock,
                    discard=DiscardPolicy.NEW,
                    max_age=lease_s,
                    num_replicas=self._replicas,
                ),
            )

    async def grow(self, places: int) -> None:
        """Let so many jobs wait and run, if it is not that many already. Raises as `asking` does."""
        async with self.asking(_OPENING_S) as js:
            await self._fit(js, places)

    async def _fit(self, js: JetStreamContext, places: int) -> None:
        config = StreamConfig(
            name=JOBS,
            subjects=[f"{_subject(JOBS)}.*"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            max_msgs=places,
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            duplicate_window=120,
            num_replicas=self._replicas,
        )
        try:
            there = (await js.stream_info(JOBS)).config
        except NotFoundError:
            await js.add_stream(config)
            return
        if (there.max_msgs or 0) < places:
            await js.update_stream(config)

    async def _keep(self, js: JetStreamContext, config: StreamConfig) -> None:
        try:
            await js.add_stream(config)
        except APIError:  # it is there, made by other settings: the latest replica's hold
            await js.update_stream(config)

    async def statuses(self) -> KeyValue:
        """The bucket of the jobs' last known records."""
        return await self._bucket(
            KeyValueConfig(
                STATUS, history=1, ttl=_STATUS_S, storage=StorageType.FILE, replicas=self._replicas
            )
        )

    async def buckets(self, law: Meter, max_clients: int) -> KeyValue:
        """The bucket of the clients' buckets under one law."""
        config = KeyValueConfig(
            f"spillway-rate-{law.per_ns}-{law.per_token}-{law.depth}",
            history=1,
            ttl=max(60.0, 2.0 * law.window_s),
            max_bytes=max_clients * _BYTES_PER_CLIENT,
            storage=StorageType.MEMORY,
            replicas=self._replicas,
        )
        return await self._bucket(config)

    async def _bucket(self, config: KeyValueConfig) -> KeyValue:
        async with self.asking(_OPENING_S) as js:
            try:
                return await js.create_key_value(config)
            except APIError:  # it is there, made by another version: what it is will do
                return await js.key_value(config.bucket)


def _subject(stream: str) -> str:
    return stream.replace("-", ".")


def job_subject(job_id: str, stream: str = JOBS) -> str:
    """Where the one message of a job is."""
    return f"{_subject(stream)}.{job_id}"


LEASE_SUBJECT = _subject(LEASES)
AWAY = (EngineDown, BreakerOpen)
"""What is raised while the engine is not there."""
