"""The composition root: the one place that knows which parts there are and how they fit together."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from fastapi import FastAPI, Request

from app.api.errors import ErrorHandlers
from app.api.images import ImageService
from app.api.metrics import Metrics
from app.api.refusal_counter import RefusalCounter
from app.api.schemas import job_document
from app.api.stats_feed import StatsFeed
from app.api.status import Status
from app.application import Audience, Parts, make_application
from app.backpressure.token_bucket import Quota
from app.engine.interface import Engine
from app.engine.local import LocalEngine
from app.engine.preview_worker import PreviewWorker
from app.engine.worker_pool import WorkerPool
from app.factory import make_breakers, make_delivery, make_engine, make_store
from app.lifecycle import Service
from app.runtime.metrics import Histograms
from app.server.links import Links
from app.server.open_requests import OpenRequests
from app.settings import Settings, load_settings
from app.uploads.admission import Admission
from app.uploads.body import BodyReader
from app.uploads.client_key import ClientKey
from app.uploads.degraded import DegradedResponse
from app.uploads.idempotency import IdempotencyKeys
from app.uploads.receiver import UploadReceiver
from app.uploads.tickets import Tickets
from app.web.demo import Demo
from app.web.demo_runner import DemoRunner
from app.web.demo_settings import DemoSettings

log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None, *, serves_while_starting: bool = False) -> FastAPI:
    """The whole service as an application; `app.state` has the parts of it that Spillway's own server needs.

    With ADMIN_PORT it is the application of PORT, and `app.state.admin_app` that of ADMIN_PORT, which has no
    lifespan of its own.

    Without `settings` they are read from the environment and `.env`. Nothing is started before the
    application's lifespan begins, which waits until uploads are accepted unless `serves_while_starting`.

    Raises:
        SettingsError: a setting in the environment does not fit.
    """
    parts = _make_parts(load_settings() if settings is None else settings, serves_while_starting)
    if parts.settings.admin_port is None:
        return make_application(parts, Audience.EVERYBODY, _lifespan_of(parts))
    if not serves_while_starting:
        log.warning(
            "not under `spillway serve`, so ADMIN_PORT is not open, and nothing else has what is on it"
        )
    app = make_application(parts, Audience.USERS, _lifespan_of(parts))
    app.state.admin_app = make_application(parts, Audience.OPERATORS)
    return app


def __getattr__(name: str) -> FastAPI:
    """`app.main:app`, which `uvicorn`, `fastapi run` and tests look for: made when it is first asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = globals()["app"] = create_app()
    return app


def __dir__() -> list[str]:
    """The names of this module, with `app`, by which `fastapi run` finds the application."""
    return sorted({*globals(), "app"})


def _make_parts(settings: Settings, serves_while_starting: bool) -> Parts:
    """Build every part of the service, and connect them."""
    links = Links(settings.public_url)
    histograms, refusals = Histograms(), RefusalCounter()
    breakers = make_breakers(settings)
    pool = WorkerPool(settings.workers, breakers.workers)
    store = make_store(settings)
    signer = store.signer if settings.serve == "redirect" else None
    delivery = make_delivery(settings, store, lambda job: job_document(job, links, store.expires_at(job)))
    engine = make_engine(settings, store, pool, histograms, breakers, delivery)
    degrades, max_bytes = settings.on_full == "degrade", settings.max_upload_bytes
    open_requests, previews = OpenRequests(settings.max_streams), PreviewWorker(kept=degrades)
    degraded_response = DegradedResponse(previews, always=degrades)
    idempotency_keys = IdempotencyKeys(store, engine.find)
    client_key = ClientKey(settings.ipv6_prefix, settings.trusted_proxies)
    admission = Admission(
        engine, store, client_key, Tickets(settings), idempotency_keys, degraded_response.wanted_by, max_bytes
    )
    body_reader = BodyReader(engine, max_bytes, settings.upload_timeout, settings.min_upload_rate)
    variants, keeps = settings.variants, settings.keep_original
    receiver = UploadReceiver(body_reader, idempotency_keys, store, breakers.store, variants, keeps)
    images = ImageService(receiver, engine, store, open_requests, settings.max_hold, links, signer)
    runner = DemoRunner()
    demo = _make_demo(settings, engine, runner)
    status = Status(
        engine,
        store,
        refusals,
        degraded_response,
        idempotency_keys,
        lambda: [*pool.pids(), *previews.pids()],
        None if demo is None else demo.snapshot,
    )
    return Parts(
        settings=settings,
        links=links,
        histograms=histograms,
        errors=ErrorHandlers(refusals, degraded_response, _quota_reader(engine, client_key), links=links),
        client_key=client_key,
        service=Service(
            settings, store, engine, previews, open_requests, serves_while_starting=serves_while_starting
        ),
        admission=admission,
        images=images,
        status=status,
        feed=_make_feed(settings, status, open_requests),
        metrics=Metrics(histograms, status.snapshot),
        runner=runner,
        demo=demo,
    )


def _quota_reader(engine: Engine, client_key: ClientKey) -> Callable[[Request], Quota]:
    """What tells the rate limit of a request's client without asking another machine."""
    return lambda request: engine.local_quota(client_key.of(request.scope))


def _make_feed(settings: Settings, status: Status, open_requests: OpenRequests) -> StatsFeed:
    """The live statistics. With ADMIN_PORT, streams of users must not keep operators from theirs."""
    watchers = open_requests if settings.admin_port is None else open_requests.apart()
    return StatsFeed(status.record_second, watchers)


def _make_demo(settings: Settings, engine: Engine, runner: DemoRunner) -> Demo | None:
    """The demonstration, if DEMO is set. It needs a local engine, which it can reconfigure."""
    if not settings.demo or not isinstance(engine, LocalEngine):
        return None
    return Demo(DemoSettings(settings, engine.reconfigure), runner, engine.local_quota)


def _lifespan_of(parts: Parts) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What runs around the application: the service, and the tasks beside it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with (
            parts.service.running(),
            parts.errors.refusals.logging(),
            parts.feed.running(),
            parts.runner.stopped_at_exit(),
        ):
            yield

    return lifespan
