"""The composition root: the one place that knows which parts there are and how they fit together."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.routing import Match
from starlette.types import Scope

from app import __version__
from app.api.errors import ErrorHandlers
from app.api.image_routes import UPLOAD_PATH
from app.api.image_routes import router as image_router
from app.api.images import ImageService
from app.api.metrics import Metrics
from app.api.openapi import TAGS, complete_openapi, servers
from app.api.refusal_counter import RefusalCounter
from app.api.schemas import job_document
from app.api.stats_feed import StatsFeed
from app.api.status import Status
from app.api.status import router as status_router
from app.backpressure.token_bucket import Quota
from app.engine.interface import Engine
from app.engine.local import LocalEngine
from app.engine.preview_worker import PreviewWorker
from app.engine.worker_pool import WorkerPool
from app.factory import make_breakers, make_delivery, make_engine, make_store
from app.lifecycle import Service
from app.runtime.metrics import Histograms
from app.server.cors import ALLOWED_HEADERS, Cors, CorsFields
from app.server.fast_reject import FastReject
from app.server.hooks import Hooks
from app.server.hosts import HostCheck, Hosts, host_of
from app.server.links import Links
from app.server.listener import local_url
from app.server.middleware import HeadAsGet, SecurityHeaders, StripPrefix, Timing
from app.server.open_requests import OpenRequests
from app.server.problems import KINDS
from app.settings import Settings, load_settings
from app.uploads.admission import Admission
from app.uploads.body import BodyReader
from app.uploads.client_key import ClientKey
from app.uploads.degraded import DegradedResponse
from app.uploads.idempotency import IdempotencyKeys
from app.uploads.receiver import UploadReceiver
from app.uploads.tickets import Tickets
from app.web.demo import Demo, demo_router
from app.web.demo_runner import DemoRunner
from app.web.demo_settings import DemoSettings
from app.web.pages import pages_router, problem_page_maker

_EXPOSED = [
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "ETag",
    "Content-Location",
    "Delete-Token",
    "Upload-Limit",
    "Preference-Applied",
]


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the routes and the middleware of one application work with."""

    settings: Settings
    links: Links
    histograms: Histograms
    errors: ErrorHandlers
    client_key: ClientKey
    service: Service
    admission: Admission
    images: ImageService
    status: Status
    feed: StatsFeed
    runner: DemoRunner
    demo: Demo | None


def create_app(settings: Settings | None = None, *, serves_while_starting: bool = False) -> FastAPI:
    """The whole service as an application; `app.state` has the parts of it that Spillway's own server needs.

    Without `settings` they are read from the environment and `.env`. Nothing is started before the
    application's lifespan begins, which waits until uploads are accepted unless `serves_while_starting`.

    Raises:
        SettingsError: a setting in the environment does not fit.
    """
    parts = _make_parts(load_settings() if settings is None else settings, serves_while_starting)
    app = FastAPI(
        title="Spillway",
        version=__version__,
        summary="Image uploads that survive any load.",
        description=(
            "Every upload passes a token bucket for its client, then takes a place in a bounded queue, and "
            "is resized by a fixed number of worker processes. What cannot be taken is refused before its "
            "body is read, with a Retry-After that means what it says."
        ),
        openapi_tags=TAGS if parts.demo is not None else TAGS[:-1],
        servers=servers(parts.links),
        generate_unique_id_function=lambda route: route.name,
        lifespan=_lifespan_of(parts),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_routes(app, parts)
    complete_openapi(app, parts.settings.variants, needs_ticket=bool(parts.settings.upload_keys))
    _add_middleware(app, parts)
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


def _make_parts(settings: Settings, serves_while_starting: bool) -> _Parts:
    """Build every part of the service, and connect them."""
    links = Links(settings.public_url)
    histograms, refusals = Histograms(), RefusalCounter()
    breakers = make_breakers(settings)
    pool = WorkerPool(settings.workers, breakers.workers)
    store = make_store(settings)
    delivery = make_delivery(settings, store, lambda job: job_document(job, links, store.expires_at(job)))
    engine = make_engine(settings, store, pool, histograms, breakers, delivery)
    open_requests = OpenRequests(settings.max_streams)
    previews = PreviewWorker()
    degraded_response = DegradedResponse(previews, always=settings.on_full == "degrade")
    idempotency_keys = IdempotencyKeys(store, engine.find)
    client_key = ClientKey(settings.ipv6_prefix, settings.trusted_proxies)
    max_bytes = settings.max_upload_bytes
    admission = Admission(
        engine, store, client_key, Tickets(settings), idempotency_keys, degraded_response.wanted_by, max_bytes
    )
    body_reader = BodyReader(engine, max_bytes, settings.upload_timeout, settings.min_upload_rate)
    receiver = UploadReceiver(body_reader, idempotency_keys, store, breakers.store, settings.variants)
    images = ImageService(receiver, engine, store, open_requests, settings.max_hold, links)
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
    return _Parts(
        settings=settings,
        links=links,
        histograms=histograms,
        errors=ErrorHandlers(
            refusals, degraded_response, _quota_reader(engine, client_key), problem_page_maker(links), links
        ),
        client_key=client_key,
        service=Service(
            settings, store, engine, previews, open_requests, serves_while_starting=serves_while_starting
        ),
        admission=admission,
        images=images,
        status=status,
        feed=StatsFeed(status.record_second, open_requests),
        runner=runner,
        demo=demo,
    )


def _quota_reader(engine: Engine, client_key: ClientKey) -> Callable[[Request], Quota]:
    """What tells the rate limit of a request's client without asking another machine."""
    return lambda request: engine.local_quota(client_key.of(request.scope))


def _make_demo(settings: Settings, engine: Engine, runner: DemoRunner) -> Demo | None:
    """The demonstration, if DEMO is set. It needs a local engine, which it can reconfigure."""
    if not settings.demo or not isinstance(engine, LocalEngine):
        return None
    return Demo(DemoSettings(settings, engine.reconfigure), runner)


def _lifespan_of(parts: _Parts) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
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


def _add_routes(app: FastAPI, parts: _Parts) -> None:
    """Every endpoint, and the problem that each exception becomes."""
    app.state.client_key = parts.client_key
    app.state.admission = parts.admission
    app.state.images = parts.images
    app.state.status = parts.status
    app.state.stats_feed = parts.feed
    app.state.metrics = Metrics(parts.histograms, parts.status.snapshot)
    app.include_router(image_router)
    app.include_router(status_router)
    if parts.demo is not None:
        hosts = (*parts.settings.allowed_hosts, host_of(parts.links.authority))
        app.include_router(demo_router(parts.demo, parts.settings.host, hosts, parts.links.authority))
    app.include_router(pages_router(parts.settings))
    parts.errors.install(app)


def _add_middleware(app: FastAPI, parts: _Parts) -> None:
    """What every answer passes through, and the hooks of the server, whose answers have to look the same."""
    cors = _cors(parts.settings.cors_origins) if parts.settings.cors_origins else {}
    if cors:
        app.add_middleware(Cors, links=parts.links, **cors)
    hosts = _served_hosts(parts.settings, parts.links)
    if hosts is not None:
        app.add_middleware(HostCheck, hosts=hosts, answer=parts.errors.refuse_host)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Timing, histograms=parts.histograms)
    if parts.links.prefix:
        app.add_middleware(StripPrefix, prefix=parts.links.decoded_prefix, is_known=_has_route(app))
    fast_reject = FastReject(
        {UPLOAD_PATH, parts.links.decoded_prefix + UPLOAD_PATH},
        lambda scope: parts.admission.reject_early(scope) if hosts is None or hosts.serve(scope) else None,
        lambda refusal: parts.errors.refuse(refusal.error, refusal.quota),
        lambda: parts.errors.refusals.count(KINDS["rate"], "POST"),
        CorsFields(cors["allow_origins"], cors["expose_headers"]) if cors else None,
    )
    service = parts.service
    app.state.hooks = Hooks(service.started, service.drain, fast_reject, parts.errors.render_for)


def _has_route(app: FastAPI) -> Callable[[Scope], bool]:
    """What tells whether a request is for a path of the application."""
    return lambda scope: any(route.matches(scope)[0] is not Match.NONE for route in app.routes)


def _served_hosts(settings: Settings, links: Links) -> Hosts | None:
    """The hosts that are served; None for any."""
    if not settings.allowed_hosts:
        return None
    hosts = {*settings.allowed_hosts, host_of(links.authority)}
    if settings.demo:  # the acts of the demonstration use this address
        hosts.add(host_of(urlsplit(local_url(settings.host, settings.port)).netloc))
    return Hosts(hosts - {""})


def _cors(origins: Sequence[str]) -> dict[str, Any]:
    """What pages of other origins may do."""
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": ["*"] if "*" in origins else ALLOWED_HEADERS,
        "expose_headers": _EXPOSED,
    }
