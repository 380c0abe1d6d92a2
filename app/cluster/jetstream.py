"""The streams and key-value buckets of the cluster in NATS JetStream.

    spillway-jobs     work queue, on disk: one message for each job that waits or runs
    spillway-dead     on disk: jobs that were given up because they repeatedly ended their workers
    spillway-events   work queue, on disk: one message for each event that is not delivered
    spillway-leases   in memory: one message for each receiving slot that is taken
    KV spillway-status, on disk: the last known record of each job, for the replicas that watch it
    KV spillway-rate-…, in memory: the token bucket of each client, for one rate and burst

Each job has a subject of its own that holds at most one message. So a publish that is repeated because its
answer was lost never puts the job into the queue twice.
"""

from contextlib import suppress
from dataclasses import dataclass

import structlog
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
from nats.js.errors import APIError, BadRequestError, NotFoundError
from nats.js.kv import KeyValue

from app.backpressure.token_bucket import GCRA
from app.cluster.connection import PUBLISH_TIMEOUT_S, SETUP_TIMEOUT_S, NatsConnection
from app.job import Job
from app.webhooks.outbox import MAX_KEPT

log = structlog.get_logger(__name__)

JOBS, DEAD, LEASES, STATUS = "spillway-jobs", "spillway-dead", "spillway-leases", "spillway-status"
EVENTS = "spillway-events"
WORKERS = "workers"
"""The one durable consumer of the queue."""
EVENT_SENDERS = "senders"
"""The one durable consumer of the events."""
SEND_WAIT_S = 30.0
"""Seconds without a sign of life from its replica after which an event is given to another one."""
ACK_WAIT_S = 15.0
"""Seconds without a sign of life from its worker after which a job is given to another one."""
_STATUS_TTL_S = 300.0
"""Seconds for which a status is kept. A replica that starts reads all of them."""
_DEAD_TTL_S = 7 * 86_400.0
_MIN_RATE_TTL_S = 60.0
_OWN_RATE_TTL_S = 2 * 86_400.0
"""Seconds for which a bucket with limits of its own is kept after its last token: twice a ticket's life."""
_MAX_DEAD = 10_000
_MAX_ACK_PENDING = 100_000
_MAX_WAITING_PULLS = 10_000
_DUPLICATE_WINDOW_S = 120
_BYTES_PER_CLIENT = 512


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs may wait and run, and how many leases there may be, each for `lease_s` seconds."""

    max_jobs: int
    max_receiving: int
    lease_s: float


async def prepare(connection: NatsConnection, bounds: Bounds, *, may_change: bool) -> None:
    """Create the streams and the consumer where they are missing. Raises as `NatsConnection.request` does.

    With `may_change`, streams that exist get these bounds. Only replicas do that: the settings of a worker
    are not meant for it. The bound of the job stream is raised but never lowered, because a server drops
    the messages beyond a lower one.
    """
    async with connection.request(SETUP_TIMEOUT_S) as js:
        await _fit_job_stream(js, bounds.max_jobs, connection.replicas, may_change=may_change)
        await js.add_consumer(
            JOBS,
            ConsumerConfig(
                durable_name=WORKERS,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_S,
                max_deliver=-1,
                max_ack_pending=_MAX_ACK_PENDING,
                max_waiting=_MAX_WAITING_PULLS,
            ),
        )
        await _ensure_stream(
            js,
            StreamConfig(
                name=DEAD,
                subjects=[f"{_subject(DEAD)}.*"],
                storage=StorageType.FILE,
                max_msgs=_MAX_DEAD,
                max_age=_DEAD_TTL_S,
                num_replicas=connection.replicas,
            ),
            may_change=may_change,
        )
        await _prepare_events(js, connection.replicas, may_change=may_change)
        await _ensure_stream(
            js,
            StreamConfig(
                name=LEASES,
                subjects=[_subject(LEASES)],
                storage=StorageType.MEMORY,
                max_msgs=bounds.max_receiving,
                discard=DiscardPolicy.NEW,
                max_age=bounds.lease_s,
                duplicate_window=bounds.lease_s,
                num_replicas=connection.replicas,
            ),
            may_change=may_change,
        )


async def _prepare_events(js: JetStreamContext, replicas: int, *, may_change: bool) -> None:
    """Create the stream of the events that are not delivered, and its consumer."""
    await _ensure_stream(
        js,
        StreamConfig(
            name=EVENTS,
            subjects=[f"{_subject(EVENTS)}.*"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            max_msgs=MAX_KEPT,
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            duplicate_window=_DUPLICATE_WINDOW_S,
            num_replicas=replicas,
        ),
        may_change=may_change,
    )
    await js.add_consumer(
        EVENTS,
        ConsumerConfig(
            durable_name=EVENT_SENDERS,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=SEND_WAIT_S,
            max_deliver=-1,
            max_ack_pending=_MAX_ACK_PENDING,
            max_waiting=_MAX_WAITING_PULLS,
        ),
    )


async def grow(connection: NatsConnection, max_jobs: int) -> None:
    """Raise the bound of the job stream, if it is lower. Raises as `NatsConnection.request` does."""
    async with connection.request(SETUP_TIMEOUT_S) as js:
        await _fit_job_stream(js, max_jobs, connection.replicas, may_change=True)


async def _fit_job_stream(js: JetStreamContext, max_jobs: int, replicas: int, *, may_change: bool) -> None:
    config = StreamConfig(
        name=JOBS,
        subjects=[f"{_subject(JOBS)}.*"],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        max_msgs=max_jobs,
        max_msgs_per_subject=1,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,
        duplicate_window=_DUPLICATE_WINDOW_S,
        num_replicas=replicas,
    )
    try:
        existing = (await js.stream_info(JOBS)).config
    except NotFoundError:
        await js.add_stream(config)
        return
    if may_change and (existing.max_msgs or 0) < max_jobs:
        await js.update_stream(config)
        log.info("the queue has got more places", before=existing.max_msgs, now=max_jobs)


async def _ensure_stream(js: JetStreamContext, config: StreamConfig, *, may_change: bool) -> None:
    """Create a stream, or give the existing one these settings: those of the last replica are in force."""
    try:
        existing = (await js.stream_info(config.name or "")).config
    except NotFoundError:
        await js.add_stream(config)
        return
    changed = {
        name: wanted
        for name in ("max_msgs", "max_age", "duplicate_window", "num_replicas")
        if (wanted := getattr(config, name)) and wanted != getattr(existing, name)
    }
    if may_change and changed:
        await js.update_stream(config)
        log.info("a stream has got other bounds", stream=config.name, **changed)


async def status_bucket(connection: NatsConnection) -> KeyValue:
    """The key-value bucket of the last known record of each job."""
    return await _bucket(
        connection,
        KeyValueConfig(
            STATUS, history=1, ttl=_STATUS_TTL_S, storage=StorageType.FILE, replicas=connection.replicas
        ),
    )


async def rate_bucket(connection: NatsConnection, gcra: GCRA | None, max_clients: int) -> KeyValue:
    """The key-value bucket of the clients' token buckets at one rate and burst.

    Without a `gcra` it is that of clients with limits of their own.
    """
    if gcra is None:
        name, ttl_s = "spillway-rate-own", _OWN_RATE_TTL_S
    else:
        name = f"spillway-rate-{gcra.ticks_per_ns}-{gcra.ticks_per_token}-{gcra.max_debt}"
        ttl_s = max(_MIN_RATE_TTL_S, 2.0 * gcra.window_s)
    config = KeyValueConfig(
        name,
        history=1,
        ttl=ttl_s,
        max_bytes=max_clients * _BYTES_PER_CLIENT,
        storage=StorageType.MEMORY,
        replicas=connection.replicas,
    )
    return await _bucket(connection, config)


async def _bucket(connection: NatsConnection, config: KeyValueConfig) -> KeyValue:
    async with connection.request(SETUP_TIMEOUT_S) as js:
        try:
            return await js.create_key_value(config)
        except APIError as error:
            try:  # it exists, made by another version: use it as it is
                return await js.key_value(config.bucket)
            except NotFoundError:
                raise error from None


def _subject(stream: str) -> str:
    return stream.replace("-", ".")


def job_subject(job_id: str, stream: str = JOBS) -> str:
    """The subject that holds the one message of a job."""
    return f"{_subject(stream)}.{job_id}"


def event_subject(event_id: str) -> str:
    """The subject that holds the one message of an event."""
    return f"{_subject(EVENTS)}.{event_id}"


LEASE_SUBJECT = _subject(LEASES)


class JobStream:
    """The queue of the cluster. Every method raises as `NatsConnection.request` does."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    async def publish(self, job: Job, message_id: str | None = None) -> None:
        """Put a job into the queue. A repeated publish with the same `message_id` succeeds and adds nothing.

        Raises:
            StreamFull: the queue has no room, or has the job already (`subject` is then true).
        """
        headers = None if message_id is None else {"Nats-Msg-Id": message_id}
        async with self._connection.request(PUBLISH_TIMEOUT_S) as js:
            await js.publish(job_subject(job.id), b"", headers=headers)

    async def withdraw(self, job_id: str) -> None:
        """Take a job out of the queue, also while a worker has it.

        Its message is deleted by number: after a purge of its subject, nats-server 2.9 would pass over all
        other waiting messages.
        """
        if (number := await self.number(job_id)) is not None:
            async with self._connection.request(PUBLISH_TIMEOUT_S) as js:
                with suppress(NotFoundError, BadRequestError):  # it has left meanwhile
                    await js.delete_msg(JOBS, number)

    async def job_ids(self) -> list[str]:
        """The ids of all jobs in the queue."""
        async with self._connection.request(PUBLISH_TIMEOUT_S) as js:
            subjects = (await js.stream_info(JOBS, subjects_filter=">")).state.subjects
        return [subject.rpartition(".")[2] for subject in subjects or {}]

    async def passed_over(self) -> int:
        """The number up to which messages are never delivered, as they are taken for acknowledged; or 0."""
        async with self._connection.request(PUBLISH_TIMEOUT_S) as js:
            first = (await js.stream_info(JOBS)).state.first_seq
            ack_floor = (await js.consumer_info(JOBS, WORKERS)).ack_floor
        return 0 if ack_floor is None or first > ack_floor.stream_seq else ack_floor.stream_seq

    async def number(self, job_id: str) -> int | None:
        """The number of a job's message; None when the job is not in the queue."""
        async with self._connection.request(PUBLISH_TIMEOUT_S) as js:
            with suppress(NotFoundError):
                return (await js.get_last_msg(JOBS, job_subject(job_id))).seq
        return None
