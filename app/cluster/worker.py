"""The process of `spillway worker`: does jobs of the cluster's queue and answers no HTTP."""

import asyncio
import signal
from contextlib import AsyncExitStack, suppress

import structlog

from app.backpressure.circuit_breaker import CircuitBreaker
from app.cluster import jetstream
from app.cluster.connection import UNAVAILABLE, NatsConnection, StreamFull
from app.cluster.factory import (
    ProcessParts,
    engine_breaker,
    lease_s,
    make_connection,
    make_consumer,
    make_outbox,
)
from app.cluster.heartbeats import HEARTBEAT_INTERVAL_S, Heartbeats
from app.cluster.jetstream import Bounds
from app.cluster.job_consumer import JobConsumer
from app.cluster.job_status import JobStatusStore
from app.engine.base import CircuitBreakers
from app.engine.job_plan import JobDefaults
from app.engine.worker_pool import WorkerPool
from app.runtime import logs, memory, tasks, tracing
from app.runtime.metrics import Histograms
from app.settings import Settings
from app.storage.interface import Store

log = structlog.get_logger(__name__)


async def run_worker(settings: Settings, job_defaults: JobDefaults, store: Store) -> None:
    """Do jobs until SIGTERM or SIGINT, then finish those in progress. A second signal ends them at once.

    Raises:
        EngineUnusable, StoreUnusable, PoolNotStarted: the process cannot start.
    """
    signals = _Signals()
    try:
        await _run(settings, job_defaults, store, signals)
    except asyncio.CancelledError:
        if not signals.ended_start:
            raise


class _Signals:
    """SIGTERM and SIGINT: the first ends a start or requests a drain, the second requests a stop."""

    def __init__(self) -> None:
        self.drain_requested, self.stop_requested = asyncio.Event(), asyncio.Event()
        self.ended_start = False
        self._starting = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._received)

    def started(self) -> None:
        """The start is over: from now on a signal requests a drain."""
        self._starting = None

    def _received(self) -> None:
        if self._starting is not None:
            self.ended_start = True
            self._starting.cancel()
        elif self.drain_requested.is_set():
            self.stop_requested.set()
        else:
            self.drain_requested.set()


async def _run(settings: Settings, job_defaults: JobDefaults, store: Store, signals: _Signals) -> None:
    breaker = engine_breaker()
    breakers = CircuitBreakers(CircuitBreaker("workers"), CircuitBreaker("store"), breaker)
    pool = WorkerPool(settings.workers, breakers.workers)
    connection = make_connection(settings, breaker)
    job_status = JobStatusStore(connection)
    parts = ProcessParts(job_defaults, store, pool, Histograms(), breakers)
    outbox = make_outbox(settings, connection, parts)
    consumer = make_consumer(settings, connection, job_status, outbox, parts)
    heartbeats = Heartbeats(connection)
    async with AsyncExitStack() as stack:
        tracing.start()
        stack.push_async_callback(tracing.stop)
        await store.open()
        stack.push_async_callback(store.close)
        await store.survey()
        await connection.open()
        stack.push_async_callback(connection.close)
        with connection.startup():
            max_jobs = settings.queue_size + settings.workers
            bounds = Bounds(max_jobs, settings.max_receiving, lease_s(settings))
            await jetstream.prepare(connection, bounds, may_change=False)
            await job_status.prepare()
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        beating = tasks.supervise(lambda: _run_heartbeats(connection, heartbeats, consumer), "heartbeats")
        stack.push_async_callback(tasks.cancel_and_wait, [beating])
        await stack.enter_async_context(memory.kept_trimmed())
        signals.started()
        logs.announce(f"Spillway worker is ready: {settings.workers} at {connection.name}")
        await signals.drain_requested.wait()
        log.info("draining", timeout_s=settings.drain_timeout)
        await _drain(consumer, settings.drain_timeout, signals.stop_requested)


async def _drain(consumer: JobConsumer, timeout_s: float, stop_requested: asyncio.Event) -> None:
    """Finish the jobs in progress, for at most `timeout_s` seconds or until a stop is requested."""
    ends = [
        asyncio.create_task(consumer.drain(timeout_s)),
        asyncio.create_task(stop_requested.wait()),
    ]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    await tasks.cancel_and_wait(ends)


async def _run_heartbeats(connection: NatsConnection, heartbeats: Heartbeats, consumer: JobConsumer) -> None:
    """Send heartbeats, and ask NATS for something each time: the answer closes an open breaker again."""
    while True:
        await heartbeats.send(consumer.heartbeat(serves=False))
        with suppress(*UNAVAILABLE, StreamFull):
            async with connection.request() as js:
                await js.account_info()
        await asyncio.sleep(HEARTBEAT_INTERVAL_S)
