"""The composition root: the one place that knows which parts there are and how they fit together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app import __version__
from app.api.errors import Refusals, install, problem_of
from app.api.images import ImageService, images_router
from app.api.schemas import ProblemDocument
from app.api.status import Status, status_router
from app.engine.local import LocalEngine
from app.engine.preview_worker import PreviewWorker
from app.engine.worker_pool import WorkerPool
from app.factory import make_breakers, make_engine, make_store
from app.lifecycle import Service
from app.runtime.metrics import Histograms, Metrics
from app.server.fast_reject import FastReject
from app.server.middleware import HeadAsGet, SecurityHeaders, Timing
from app.server.problems import render
from app.server.streaming import OpenRequests, StatsFeed
from app.settings import Settings
from app.uploads.admission import Admission
from app.uploads.body import BodyReader
from app.uploads.client_key import ClientKey
from app.uploads.degraded import DegradedResponse
from app.uploads.idempotency import IdempotencyKeys
from app.web.demo import Demo, demo_router
from app.web.demo_runner import DemoRunner
from app.web.demo_settings import DemoSettings
from app.web.pages import pages_router

_EXPOSED = [
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "ETag",
    "Upload-Limit",
    "Preference-Applied",
]


def create_app(settings: Settings) -> FastAPI:
    """The whole service as an application; `app.state` has the parts of it that its server needs."""
    histograms = Histograms()
    refusals = Refusals()
    breakers = make_breakers(settings)
    pool = WorkerPool(settings.workers, breakers.workers)
    store = make_store(settings)
    engine = make_engine(settings, store, pool, histograms, breakers)
    open_requests = OpenRequests(settings.max_streams)
    previews = PreviewWorker()
    degraded_response = DegradedResponse(previews, always=settings.on_full == "degrade")
    service = Service(settings, store, engine, previews, open_requests)
    idempotency_keys = IdempotencyKeys(store, engine.find)
    admission = Admission(
        engine,
        store,
        ClientKey(settings.ipv6_prefix, settings.trusted_proxies),
        idempotency_keys,
        degraded_response.wanted_by,
        settings.max_upload_bytes,
    )
    body_reader = BodyReader(
        engine, settings.max_upload_bytes, settings.upload_timeout, settings.min_upload_rate
    )
    images = ImageService(
        admission,
        body_reader,
        idempotency_keys,
        engine,
        store,
        breakers.store,
        open_requests,
        settings.variants,
        settings.max_hold,
    )
    status = Status(
        engine,
        store,
        refusals.snapshot,
        degraded_response.snapshot,
        idempotency_keys.snapshot,
        lambda: [*pool.pids(), *previews.pids()],
    )

    feed = StatsFeed(status.beat, open_requests)
    runner = DemoRunner()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running(), refusals.telling(), feed.running(), runner.ended():
            yield

    app = FastAPI(
        title="Spillway",
        version=__version__,
        summary="Image uploads that survive any load.",
        description=(
            "Every upload passes a token bucket for its client, then takes a place in a bounded queue, and "
            "is resized by a fixed number of worker processes. What cannot be taken is refused before its "
            "body is read, with a Retry-After that means what it says."
        ),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(images_router(images))
    app.include_router(status_router(status, admission, feed, Metrics(histograms, status.stats)))
    if settings.demo and isinstance(engine, LocalEngine):
        demo = Demo(DemoSettings(settings, engine.reconfigure), runner)
        status.demo = demo.snapshot
        app.include_router(demo_router(demo, settings.host))
    app.include_router(pages_router(settings))
    install(
        app, refusals, degraded_response, lambda request: engine.local_quota(admission.client(request.scope))
    )
    _complete_openapi(app)
    cors = _cors(settings.cors_origins) if settings.cors_origins else {}
    if cors:
        app.add_middleware(CORSMiddleware, **cors)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Timing, histograms=histograms)
    app.state.fast_reject = FastReject(
        "/v1/images",
        admission.reject_early,
        lambda refusal: refusals.answer(refusal.error, refusal.quota, "POST"),
        lambda error: render(problem_of(error)),
        lambda: refusals.count("rate"),
        CORSMiddleware(app, **cors) if cors else None,
    )
    return app


def _cors(origins: Sequence[str]) -> dict[str, Any]:
    """What pages of other origins may do."""
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": ["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer"],
        "expose_headers": _EXPOSED,
    }


def _complete_openapi(app: FastAPI) -> None:
    """Add to the generated description what no route declares by itself."""
    generated = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = generated()
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {}).setdefault(
                "ProblemDocument",
                ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}"),
            )
            components["securitySchemes"] = {"delete_token": {"type": "http", "scheme": "bearer"}}
            _forget_validation(schema)
        assert app.openapi_schema is not None  # noqa: S101
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _forget_validation(schema: dict[str, Any]) -> None:
    """Drop the answer that FastAPI describes wherever there is a parameter: no route here gives it."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
