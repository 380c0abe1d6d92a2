"""Builds the parts of a cluster's processes: the engine of a replica, the job consumer of a worker."""

import time
from dataclasses import dataclass

from app.backpressure.brownout import Brownout, DeferredQueue
from app.backpressure.circuit_breaker import CircuitBreaker
from app.backpressure.drain_rate import DrainRate
from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.reservations import Reservations
from app.backpressure.token_bucket import GCRA
from app.backpressure.upload_queue import UploadQueue
from app.backpressure.waiting_room import WaitingRoom
from app.cluster.connection import NatsConnection
from app.cluster.engine import ClusterEngine
from app.cluster.engine_parts import Guards, JobTracking
from app.cluster.event_stream import EventStream
from app.cluster.heartbeats import Heartbeats
from app.cluster.jetstream import JobStream
from app.cluster.job_consumer import FreeWorkers, JobConsumer
from app.cluster.job_registry import JobRegistry
from app.cluster.job_status import JobStatusStore
from app.cluster.leases import Leases
from app.cluster.rate_limiter import SharedRateLimiter
from app.cluster.upload_queue import SharedUploadQueue
from app.engine.base import CircuitBreakers
from app.engine.dispatcher import Dispatcher
from app.engine.job_handle import JobHandle
from app.engine.job_plan import JobDefaults
from app.engine.outcomes import OutcomeRecorder
from app.engine.work_queue import WorkQueue
from app.engine.worker_pool import WorkerPool
from app.runtime.metrics import Histograms
from app.settings import Settings
from app.storage.interface import Store
from app.webhooks.delivery import Delivery
from app.webhooks.outbox import wanted_events

_LEASE_MARGIN_S = 60.0
"""Seconds by which a lease outlives the longest upload."""


@dataclass(frozen=True, slots=True)
class ProcessParts:
    """What a process of the cluster has in common with one of a single machine."""

    job_defaults: JobDefaults
    store: Store
    pool: WorkerPool
    histograms: Histograms
    breakers: CircuitBreakers
    delivery: Delivery | None = None
    """That of webhooks, in a replica; a worker only publishes events."""


def engine_breaker() -> CircuitBreaker:
    """The breaker around NATS: opens after two failures and tries again within two seconds."""
    return CircuitBreaker("engine", failure_threshold=2, open_s=0.5, max_open_s=2.0, call_timeout_s=2.0)


def make_connection(settings: Settings, breaker: CircuitBreaker) -> NatsConnection:
    """The connection, not opened yet, to the servers that ENGINE_URL names."""
    servers = settings.engine_url.removeprefix("nats://").split(",")
    return NatsConnection([f"nats://{server.removeprefix('nats://')}" for server in servers], breaker)


def lease_s(settings: Settings) -> float:
    """Seconds after which the lease of a replica that died ends."""
    return settings.upload_timeout + _LEASE_MARGIN_S


def make_outbox(settings: Settings, connection: NatsConnection, parts: ProcessParts) -> EventStream:
    """The outbox of the cluster, which is also told of images that expire."""
    outbox = EventStream(connection, wanted_events(settings), parts.delivery)
    parts.store.expiring = outbox.announcing_expiry
    return outbox


def make_consumer(
    settings: Settings,
    connection: NatsConnection,
    job_status: JobStatusStore,
    outbox: EventStream,
    parts: ProcessParts,
) -> JobConsumer:
    """The workers of this process, connected to the cluster's queue.

    The local queue between them holds only jobs that were taken for a free worker, so it never fills, and
    nothing is deferred.
    """
    workers = settings.workers
    local_queue: UploadQueue[JobHandle] = UploadQueue(
        4 * workers, workers, 4 * workers, DrainRate(workers, workers)
    )
    brownout = Brownout(settings.brownout_high, settings.brownout_low, DeferredQueue(0))
    free_workers = FreeWorkers(workers)
    dispatcher = Dispatcher(
        WorkQueue(local_queue, brownout),
        parts.pool,
        OutcomeRecorder(parts.store, parts.job_defaults, outbox),
        parts.histograms,
        parts.breakers,
        on_worker_free=lambda handle: free_workers.free(handle.job.id),
    )
    return JobConsumer(connection, job_status, dispatcher, free_workers, parts.store)


def make_replica(settings: Settings, gcra: GCRA, parts: ProcessParts) -> ClusterEngine:
    """The engine of a replica, with workers of its own unless WORKERS is 0."""
    assert parts.breakers.engine is not None  # noqa: S101 - `app.factory.make_breakers` makes one for a cluster
    connection = make_connection(settings, parts.breakers.engine)
    leases = Leases(connection)
    job_status = JobStatusStore(connection)
    outbox = make_outbox(settings, connection, parts)
    # Until heartbeats tell how many workers the cluster has, the estimates are those of this process.
    workers = max(1, settings.workers)
    upload_queue = SharedUploadQueue(
        settings.queue_size,
        settings.max_receiving,
        settings.client_share,
        DrainRate(workers, settings.max_receiving),
        max_wait_s=settings.max_wait,
        receiving_elsewhere=lambda: leases.held_elsewhere,
    )
    reservations = Reservations(
        workers, settings.queue_size, lambda: upload_queue.uploads_per_s, settings.max_clients
    )
    smooth = settings.limiter == "leaky_bucket"
    local_limiter = RateLimiter(gcra, settings.max_clients, smooth=smooth, clock=time.time_ns)
    return ClusterEngine(
        connection,
        Guards(
            SharedRateLimiter(connection, local_limiter),
            upload_queue,
            WaitingRoom(upload_queue, reservations),
            leases,
            parts.breakers,
        ),
        JobTracking(
            JobRegistry(upload_queue, parts.histograms),
            job_status,
            JobStream(connection),
            parts.store,
            outbox,
        ),
        Heartbeats(connection),
        make_consumer(settings, connection, job_status, outbox, parts) if settings.workers else None,
        lease_s=lease_s(settings),
        drain_timeout=settings.drain_timeout,
    )
