"""The composition root of many machines: what one replica, and one worker without HTTP, are made of."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack

import structlog

from app.backpressure.brownout import Brownout, DeferredQueue
from app.backpressure.circuit_breaker import CircuitBreaker, CircuitBreakers
from app.backpressure.drain_rate import DrainRate
from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.reservations import Reservations
from app.backpressure.token_bucket import GCRA
from app.backpressure.upload_queue import UploadQueue
from app.backpressure.waiting_room import WaitingRoom
from app.cluster import jetstream
from app.cluster.connection import UNAVAILABLE, NatsConnection, StreamFull
from app.cluster.engine import ClusterEngine
from app.cluster.job_consumer import JobConsumer
from app.cluster.job_registry import JobRegistry
from app.cluster.job_status import JobStatusStore
from app.cluster.rate_limiter import SharedRateLimiter
from app.cluster.upload_queue import SharedUploadQueue
from app.engine.dispatcher import Dispatcher
from app.engine.job_handle import JobHandle
from app.engine.job_plan import JobDefaults
from app.engine.work_queue import WorkQueue
from app.engine.worker_pool import WorkerPool
from app.runtime import memory
from app.runtime.metrics import Histograms
from app.settings import Settings
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_SETTLING_S = 60.0
"""Seconds by which a lease outlives the longest upload."""
_BEAT = 1.0


def engine_breaker() -> CircuitBreaker:
    """Opens after two questions in vain, and looks often whether the engine is back."""
    return CircuitBreaker("engine", failures=2, open_s=0.5, longest_s=2.0, call_s=2.0)


def _connection(settings: Settings, breaker: CircuitBreaker) -> NatsConnection:
    servers = settings.engine_url.removeprefix("nats://").split(",")
    return NatsConnection([f"nats://{server.removeprefix('nats://')}" for server in servers], breaker)


def _lease_s(settings: Settings) -> float:
    return settings.upload_timeout + _SETTLING_S


def _consumer(
    settings: Settings,
    connection: NatsConnection,
    job_status: JobStatusStore,
    store: Store,
    pool: WorkerPool,
    histograms: Histograms,
    breakers: CircuitBreakers,
    job_defaults: JobDefaults,
) -> JobConsumer:
    """Workers in the service of the queue. What they hold is in hand, so nothing is put off here."""
    workers = settings.workers
    hand: UploadQueue[JobHandle] = UploadQueue(4 * workers, workers, 4 * workers, DrainRate(workers, workers))
    work_queue = WorkQueue(hand, Brownout(settings.brownout_high, settings.brownout_low, DeferredQueue(0)))
    return JobConsumer(
        connection, job_status, Dispatcher(work_queue, pool, store, histograms, breakers, job_defaults), store
    )


def make_replica(
    settings: Settings,
    meter: GCRA,
    job_defaults: JobDefaults,
    store: Store,
    pool: WorkerPool,
    histograms: Histograms,
    breakers: CircuitBreakers,
) -> ClusterEngine:
    """The engine of one replica."""
    assert breakers.engine is not None  # noqa: S101 - an engine elsewhere has one
    connection = _connection(settings, breakers.engine)
    smooth = settings.limiter == "leaky_bucket"
    local = RateLimiter(meter, settings.max_clients, smooth=smooth, clock=time.time_ns)
    workers = max(1, settings.workers)
    upload_queue = SharedUploadQueue(
        settings.queue_size,
        settings.max_receiving,
        settings.client_share,
        DrainRate(workers, settings.max_receiving),
        max_wait=settings.max_wait,
    )
    reservations = Reservations(
        workers, settings.queue_size, lambda: upload_queue.uploads_per_s, settings.max_clients
    )
    job_status = JobStatusStore(connection)
    consumer = None
    if settings.workers:
        consumer = _consumer(
            settings, connection, job_status, store, pool, histograms, breakers, job_defaults
        )
    return ClusterEngine(
        connection,
        SharedRateLimiter(connection, local),
        upload_queue,
        WaitingRoom(upload_queue, reservations),
        JobRegistry(upload_queue, histograms),
        job_status,
        consumer,
        breakers,
        store,
        lease_s=_lease_s(settings),
        drain_timeout=settings.drain_timeout,
    )


async def work(settings: Settings, job_defaults: JobDefaults, store: Store) -> None:
    """Do jobs of the queue until SIGTERM or SIGINT, then finish those in hand.

    Raises:
        EngineUnusable, StoreError, PoolNotStarted: what keeps it from starting.
    """
    ended, hurried = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (hurried if ended.is_set() else ended).set())
    breaker = engine_breaker()
    breakers = CircuitBreakers(CircuitBreaker("workers"), CircuitBreaker("store"), breaker)
    pool = WorkerPool(settings.workers, breakers.workers)
    connection = _connection(settings, breaker)
    job_status = JobStatusStore(connection)
    consumer = _consumer(settings, connection, job_status, store, pool, Histograms(), breakers, job_defaults)
    async with AsyncExitStack() as stack:
        await store.open()
        stack.push_async_callback(store.close)
        await connection.open()
        stack.push_async_callback(connection.close)
        with connection.startup():
            places = settings.queue_size + settings.workers
            await jetstream.prepare(connection, places, settings.max_receiving, _lease_s(settings))
            await job_status.prepare()
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        beating = asyncio.create_task(_beat(connection, job_status, consumer), name="beat")
        stack.callback(beating.cancel)
        await stack.enter_async_context(memory.kept_trimmed())
        print(f"Spillway worker is ready: {settings.workers} at {connection.name}", flush=True)
        await ended.wait()
        log.info("draining", timeout_s=settings.drain_timeout)
        ends = [
            asyncio.ensure_future(consumer.drain(settings.drain_timeout)),
            asyncio.create_task(hurried.wait()),
        ]
        _, open_ends = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in open_ends:
            end.cancel()


async def _beat(connection: NatsConnection, job_status: JobStatusStore, consumer: JobConsumer) -> None:
    """Tell of this process, and ask the engine whether it is there: that closes its breaker."""
    while True:
        await job_status.beat(consumer.beat(serves=False))
        try:
            async with connection.request() as js:
                await js.account_info()
        except (*UNAVAILABLE, StreamFull):
            pass
        await asyncio.sleep(_BEAT)
