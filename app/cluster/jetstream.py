"""What the engine on NATS JetStream keeps.

    spillway-jobs     work queue, file: a message for each job that waits or runs, its subject the job's own
    spillway-dead     file: jobs that were given up because they kept ending their workers
    spillway-leases   memory: a message for each place in the dock
    KV spillway-status, file: the last known record of each job, for whoever watches
    KV spillway-rate-…, memory: each client's bucket, one for each law

One subject for each job and at most one message on it: however often a publish is repeated whose answer did
not come, the queue has the job once.
"""

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
from nats.js.errors import APIError, NotFoundError
from nats.js.kv import KeyValue

from app.backpressure.token_bucket import GCRA
from app.cluster.connection import NatsConnection

JOBS, DEAD, LEASES, STATUS = "spillway-jobs", "spillway-dead", "spillway-leases", "spillway-status"
WORKERS = "workers"
"""The one durable consumer of the queue."""
ACK_WAIT = 15.0
"""Seconds after which a job whose worker is silent is given to another."""
_OPENING_S = 3.0
"""Seconds to make what is not there yet."""
_BYTES_PER_CLIENT = 512
_STATUS_S = 300.0
"""Seconds for which a status is kept: for who comes later, and it has to read them all."""
_DEAD_S = 7 * 86_400.0


async def prepare(connection: NatsConnection, places: int, dock: int, lease_s: float) -> None:
    """Have the streams there. The queue only ever grows: a server drops what is beyond a new bound."""
    async with connection.request(_OPENING_S) as js:
        await _fit(js, places, connection.copies)
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
        await _keep(
            js,
            StreamConfig(
                name=DEAD,
                subjects=[f"{_subject(DEAD)}.*"],
                storage=StorageType.FILE,
                max_msgs=10_000,
                max_age=_DEAD_S,
                num_replicas=connection.copies,
            ),
        )
        await _keep(
            js,
            StreamConfig(
                name=LEASES,
                subjects=[_subject(LEASES)],
                storage=StorageType.MEMORY,
                max_msgs=dock,
                discard=DiscardPolicy.NEW,
                max_age=lease_s,
                num_replicas=connection.copies,
            ),
        )


async def grow(connection: NatsConnection, places: int) -> None:
    """Let so many jobs wait and run, if it is not that many already. Raises as `asking` does."""
    async with connection.request(_OPENING_S) as js:
        await _fit(js, places, connection.copies)


async def _fit(js: JetStreamContext, places: int, copies: int) -> None:
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
        num_replicas=copies,
    )
    try:
        there = (await js.stream_info(JOBS)).config
    except NotFoundError:
        await js.add_stream(config)
        return
    if (there.max_msgs or 0) < places:
        await js.update_stream(config)


async def _keep(js: JetStreamContext, config: StreamConfig) -> None:
    try:
        await js.add_stream(config)
    except APIError:  # it is there, made by other settings: the latest replica's hold
        await js.update_stream(config)


async def statuses(connection: NatsConnection) -> KeyValue:
    """The bucket of the jobs' last known records."""
    return await _bucket(
        connection,
        KeyValueConfig(
            STATUS, history=1, ttl=_STATUS_S, storage=StorageType.FILE, replicas=connection.copies
        ),
    )


async def buckets(connection: NatsConnection, law: GCRA, max_clients: int) -> KeyValue:
    """The bucket of the clients' buckets under one law."""
    config = KeyValueConfig(
        f"spillway-rate-{law.per_ns}-{law.per_token}-{law.depth}",
        history=1,
        ttl=max(60.0, 2.0 * law.window_s),
        max_bytes=max_clients * _BYTES_PER_CLIENT,
        storage=StorageType.MEMORY,
        replicas=connection.copies,
    )
    return await _bucket(connection, config)


async def _bucket(connection: NatsConnection, config: KeyValueConfig) -> KeyValue:
    async with connection.request(_OPENING_S) as js:
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
