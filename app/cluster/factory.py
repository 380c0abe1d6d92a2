"""The composition root of many machines: what one replica, and one worker without HTTP, are made of."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack

import structlog

from app.backpressure.brownout import Brownout, Lane
from app.backpressure.circuit_breaker import Breaker, Breakers
from app.backpressure.drain_rate import Pacer
from app.backpressure.rate_limiter import Limiter
from app.backpressure.reservations import Turns
from app.backpressure.token_bucket import Meter
from app.backpressure.upload_queue import Backlog
from app.backpressure.waiting_room import Door
from app.cluster import jetstream
from app.cluster.connection import AWAY, Full, Link
from app.cluster.engine import ClusterEngine
from app.cluster.job_consumer import Crew
from app.cluster.job_registry import Chronicle
from app.cluster.job_status import Bulletin
from app.cluster.rate_limiter import SharedLimiter
from app.cluster.upload_queue import SharedBacklog
from app.engine.dispatcher import Foreman
from app.engine.job_handle import Live
from app.engine.job_plan import Orders
from app.engine.work_queue import Supply
from app.engine.worker_pool import Pool
from app.runtime import memory
from app.runtime.metrics import Histograms
from app.settings import Settings
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_SETTLING_S = 60.0
"""Seconds by which a lease outlives the longest upload."""
_BEAT = 1.0


def engine_breaker() -> Breaker:
    """Opens after two questions in vain, and looks often whether the engine is back."""
    return Breaker("engine", failures=2, open_s=0.5, longest_s=2.0, call_s=2.0)


def _link(settings: Settings, breaker: Breaker) -> Link:
    servers = settings.engine_url.removeprefix("nats://").split(",")
    return Link([f"nats://{server.removeprefix('nats://')}" for server in servers], breaker)


def _lease_s(settings: Settings) -> float:
    return settings.upload_timeout + _SETTLING_S


def _crew(
    settings: Settings,
    link: Link,
    bulletin: Bulletin,
    store: Store,
    pool: Pool,
    histograms: Histograms,
    breakers: Breakers,
    orders: Orders,
) -> Crew:
    """Workers in the service of the queue. What they hold is in hand, so nothing is put off here."""
    workers = settings.workers
    hand: Backlog[Live] = Backlog(4 * workers, workers, 4 * workers, Pacer(workers, workers))
    supply = Supply(hand, Brownout(settings.brownout_high, settings.brownout_low, Lane(0)))
    return Crew(link, bulletin, Foreman(supply, pool, store, histograms, breakers, orders), store)


def make_replica(
    settings: Settings,
    meter: Meter,
    orders: Orders,
    store: Store,
    pool: Pool,
    histograms: Histograms,
    breakers: Breakers,
) -> ClusterEngine:
    """The engine of one replica."""
    assert breakers.engine is not None  # noqa: S101 - an engine elsewhere has one
    link = _link(settings, breakers.engine)
    smooth = settings.limiter == "leaky_bucket"
    local = Limiter(meter, settings.max_clients, smooth=smooth, clock=time.time_ns)
    workers = max(1, settings.workers)
    backlog = SharedBacklog(
        settings.queue_size,
        settings.max_receiving,
        settings.client_share,
        Pacer(workers, settings.max_receiving),
        max_wait=settings.max_wait,
    )
    turns = Turns(workers, settings.queue_size, lambda: backlog.pace, settings.max_clients)
    bulletin = Bulletin(link)
    crew = None
    if settings.workers:
        crew = _crew(settings, link, bulletin, store, pool, histograms, breakers, orders)
    return ClusterEngine(
        link,
        SharedLimiter(link, local),
        backlog,
        Door(backlog, turns),
        Chronicle(backlog, histograms),
        bulletin,
        crew,
        breakers,
        store,
        lease_s=_lease_s(settings),
        drain_timeout=settings.drain_timeout,
    )


async def work(settings: Settings, orders: Orders, store: Store) -> None:
    """Do jobs of the queue until SIGTERM or SIGINT, then finish those in hand.

    Raises:
        EngineUnusable, StoreError, PoolNotStarted: what keeps it from starting.
    """
    ended, hurried = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (hurried if ended.is_set() else ended).set())
    breaker = engine_breaker()
    breakers = Breakers(Breaker("workers"), Breaker("store"), breaker)
    pool = Pool(settings.workers, breakers.workers)
    link = _link(settings, breaker)
    bulletin = Bulletin(link)
    crew = _crew(settings, link, bulletin, store, pool, Histograms(), breakers, orders)
    async with AsyncExitStack() as stack:
        await store.open()
        stack.push_async_callback(store.close)
        await link.open()
        stack.push_async_callback(link.close)
        with link.starting():
            places = settings.queue_size + settings.workers
            await jetstream.prepare(link, places, settings.max_receiving, _lease_s(settings))
            await bulletin.prepare()
        stack.push_async_callback(crew.stop)
        await crew.start()
        beating = asyncio.create_task(_beat(link, bulletin, crew), name="beat")
        stack.callback(beating.cancel)
        await stack.enter_async_context(memory.kept_small())
        print(f"Spillway worker is ready: {settings.workers} at {link.name}", flush=True)
        await ended.wait()
        log.info("draining", timeout_s=settings.drain_timeout)
        ends = [
            asyncio.ensure_future(crew.drain(settings.drain_timeout)),
            asyncio.create_task(hurried.wait()),
        ]
        _, open_ends = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in open_ends:
            end.cancel()


async def _beat(link: Link, bulletin: Bulletin, crew: Crew) -> None:
    """Tell of this process, and ask the engine whether it is there: that closes its breaker."""
    while True:
        await bulletin.beat(crew.beat(serves=False))
        try:
            async with link.asking() as js:
                await js.account_info()
        except (*AWAY, Full):
            pass
        await asyncio.sleep(_BEAT)
