"""Builds the store and the engine that the settings name, without loading a web framework."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.backpressure.brownout import Brownout, DeferredQueue
from app.backpressure.circuit_breaker import CircuitBreaker
from app.backpressure.drain_rate import DrainRate
from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.reservations import Reservations
from app.backpressure.token_bucket import GCRA
from app.backpressure.upload_queue import UploadQueue
from app.backpressure.waiting_room import WaitingRoom
from app.engine.base import CircuitBreakers
from app.engine.dispatcher import Dispatcher
from app.engine.interface import Engine
from app.engine.job_handle import JobHandle
from app.engine.job_plan import JobDefaults
from app.engine.local import LocalEngine
from app.engine.outage_log import OutageLog
from app.engine.outcomes import OutcomeRecorder
from app.engine.work_queue import WorkQueue
from app.engine.worker_pool import WorkerPool
from app.job import Job
from app.runtime.metrics import Histograms
from app.setting_values import webhook_secrets
from app.settings import Settings
from app.storage.interface import Store
from app.storage.local.store import LocalStore
from app.webhooks.delivery import Delivery
from app.webhooks.outbox import Outbox, wanted_events
from app.webhooks.store_outbox import StoreOutbox


def make_store(settings: Settings) -> Store:
    """The store that STORE_URL names."""
    if settings.store_url.startswith("s3://"):
        from app.storage.s3.store import S3Store  # loads obstore, which a directory does not need

        bucket, _, prefix = settings.store_url.removeprefix("s3://").partition("/")
        return S3Store(bucket, prefix.strip("/"), settings.store_max_bytes, settings.retention)
    path = settings.store_url.removeprefix("file:")
    root = Path(path.removeprefix("//") if path.startswith("///") else path)
    return LocalStore(root, settings.store_max_bytes, settings.retention)


def make_job_defaults(settings: Settings) -> JobDefaults:
    """What every job is to become."""
    return JobDefaults(
        settings.variants,
        settings.max_pixels,
        settings.job_timeout,
        settings.worker_memory,
        truncated=settings.truncated == "accept",
        blurhash=settings.blurhash,
        background=settings.background,
        stand_ins=settings.brownout == "on",
    )


def make_breakers(settings: Settings) -> CircuitBreakers:
    """One around each part that can fail by itself."""
    if settings.engine_url == "local:":
        return CircuitBreakers(CircuitBreaker("workers"), CircuitBreaker("store"))
    from app.cluster.factory import engine_breaker

    return CircuitBreakers(CircuitBreaker("workers"), CircuitBreaker("store"), engine_breaker())


def make_delivery(
    settings: Settings, store: Store, document: Callable[[Job], dict[str, Any]]
) -> Delivery | None:
    """The delivery of webhooks, with the documents that `document` makes; None without a WEBHOOK_URL."""
    if not settings.webhook_url:
        return None
    from app.webhooks.sender import HttpSender  # loads httpx, only where it is needed

    sender = HttpSender(settings.webhook_url, webhook_secrets(settings.webhook_secret))
    breaker = CircuitBreaker("webhook", call_timeout_s=30.0)
    breaker.on_state_change = OutageLog()
    return Delivery(store, sender, breaker, document)


def make_engine(
    settings: Settings,
    store: Store,
    pool: WorkerPool,
    histograms: Histograms,
    breakers: CircuitBreakers,
    delivery: Delivery | None,
) -> Engine:
    """The engine that ENGINE_URL names."""
    job_defaults = make_job_defaults(settings)
    smooth = settings.limiter == "leaky_bucket"
    if smooth:
        gcra = GCRA.leaky_bucket(settings.rate, settings.max_delay)
    else:
        gcra = GCRA.token_bucket(settings.rate, settings.burst)
    if settings.engine_url != "local:":
        from app.cluster.factory import ProcessParts, make_replica  # loads NATS, only where it is needed

        parts = ProcessParts(job_defaults, store, pool, histograms, breakers, delivery)
        return make_replica(settings, gcra, parts)
    wanted = wanted_events(settings)
    outbox = Outbox() if delivery is None else StoreOutbox(store, delivery, wanted)
    store.expiring = outbox.announcing_expiry
    drain_rate = DrainRate(settings.workers, settings.max_receiving)
    upload_queue: UploadQueue[JobHandle] = UploadQueue(
        settings.queue_size,
        settings.max_receiving,
        settings.client_share,
        drain_rate,
        max_wait_s=settings.max_wait,
    )
    reservations = Reservations(
        settings.workers, settings.queue_size, lambda: drain_rate.uploads_per_s, settings.max_clients
    )
    deferred_queue = DeferredQueue(0 if settings.brownout == "off" else settings.deferred_size)
    brownout = Brownout(settings.brownout_high, settings.brownout_low, deferred_queue)
    return LocalEngine(
        RateLimiter(gcra, settings.max_clients, smooth=smooth),
        WaitingRoom(upload_queue, reservations),
        Dispatcher(
            WorkQueue(upload_queue, brownout),
            pool,
            OutcomeRecorder(store, job_defaults, outbox),
            histograms,
            breakers,
        ),
        breakers,
        drain_timeout=settings.drain_timeout,
        trial_variants=[variant.spec for variant in settings.variants],
    )
