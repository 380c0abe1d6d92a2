"""Makes applications of the parts of a service: one for everybody, or one each for users and operators."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import Scope

from app import __version__
from app.api.errors import ErrorHandlers
from app.api.image_routes import UPLOAD_PATH
from app.api.image_routes import router as image_router
from app.api.images import ImageService
from app.api.metrics import Metrics
from app.api.openapi import TAGS, complete_openapi
from app.api.originals import Originals
from app.api.stats_feed import StatsFeed
from app.api.status import Status, operations_router
from app.api.status import router as status_router
from app.lifecycle import Service
from app.runtime.metrics import Histograms
from app.server.cors import ALLOWED_HEADERS, Cors, CorsFields
from app.server.fast_reject import FastReject
from app.server.hooks import Hooks
from app.server.hosts import HostCheck, Hosts, host_of
from app.server.links import FROM_ROOT, Links
from app.server.listener import local_url
from app.server.middleware import HeadAsGet, SecurityHeaders, StripPrefix, Timing
from app.server.problems import KINDS
from app.server.request_context import RequestContext
from app.settings import Settings
from app.uploads.admission import Admission
from app.uploads.client_key import ClientKey
from app.web.demo import Demo, demo_router
from app.web.demo_runner import DemoRunner
from app.web.pages import Site, pages_router, problem_page_maker

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
    "X-Request-Id",
]


class Audience(Enum):
    """Whom a port is for."""

    EVERYBODY = auto()
    """The one port of a service: everything."""
    USERS = auto()
    """PORT where there is an ADMIN_PORT: no metrics, no statistics, no demonstration."""
    OPERATORS = auto()
    """ADMIN_PORT: everything."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes and the middleware of applications work with."""

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
    metrics: Metrics
    runner: DemoRunner
    demo: Demo | None


def make_application(
    parts: Parts,
    audience: Audience,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The application for one audience; `app.state` has what Spillway's own server needs of it."""
    if audience is Audience.USERS:
        parts = replace(parts, demo=None)
    links = FROM_ROOT if audience is Audience.OPERATORS else parts.links
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
        servers=[{"url": links.public_url or "/"}],
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    signer = parts.images.signer
    site = Site(
        parts.links.prefix,
        has_statistics=audience is not Audience.USERS,
        images_origin="" if signer is None else signer.origin(),
    )
    errors = replace(parts.errors, make_page=problem_page_maker(site))
    _add_routes(app, parts, audience, site)
    errors.install(app)
    complete_openapi(app, parts.settings.variants, needs_ticket=bool(parts.settings.upload_keys))
    _add_middleware(app, parts, audience, errors)
    return app


def _add_routes(app: FastAPI, parts: Parts, audience: Audience, site: Site) -> None:
    """Every endpoint for this audience."""
    app.state.client_key = parts.client_key
    app.state.admission = parts.admission
    app.state.images = parts.images
    app.state.originals = Originals(parts.images, parts.admission)
    app.state.status = parts.status
    app.state.stats_feed = parts.feed
    app.state.metrics = parts.metrics
    app.include_router(image_router)
    app.include_router(status_router)
    if audience is not Audience.USERS:
        app.include_router(operations_router)
    if parts.demo is not None:
        host = _address(parts.settings, audience)[0]
        hosts = (*parts.settings.allowed_hosts, host_of(parts.links.authority))
        app.include_router(demo_router(parts.demo, host, hosts, parts.links.authority))
    app.include_router(pages_router(parts.settings, site))


def _address(settings: Settings, audience: Audience) -> tuple[str, int]:
    """The host and the port of the settings at which this audience is served."""
    if audience is Audience.OPERATORS:
        return settings.admin_host, settings.admin_port or 0
    return settings.host, settings.port


def _add_middleware(app: FastAPI, parts: Parts, audience: Audience, errors: ErrorHandlers) -> None:
    """What every answer passes through, and the hooks of the server, whose answers have to look the same."""
    cors = _cors(parts.settings.cors_origins) if parts.settings.cors_origins else {}
    if cors:
        app.add_middleware(Cors, links=parts.links, **cors)
    hosts = _served_hosts(parts, audience)
    if hosts is not None:
        app.add_middleware(HostCheck, hosts=hosts, answer=errors.refuse_host)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Timing, histograms=parts.histograms)
    app.add_middleware(RequestContext)
    if parts.links.prefix:
        app.add_middleware(StripPrefix, prefix=parts.links.decoded_prefix, is_known=_has_route(app))
    fast_reject = FastReject(
        {UPLOAD_PATH, parts.links.decoded_prefix + UPLOAD_PATH},
        lambda scope: parts.admission.reject_early(scope) if hosts is None or hosts.serve(scope) else None,
        lambda refusal, sent: errors.refuse(refusal.error, refusal.quota, sent),
        lambda: errors.refusals.count(KINDS["rate"], "POST"),
        CorsFields(cors["allow_origins"], cors["expose_headers"]) if cors else None,
    )
    service = parts.service
    app.state.hooks = Hooks(service.started, service.drain, fast_reject, errors.render_for)


def _has_route(app: FastAPI) -> Callable[[Scope], bool]:
    """What tells whether a request is for a path of the application."""
    return lambda scope: any(route.matches(scope)[0] is not Match.NONE for route in app.routes)


def _served_hosts(parts: Parts, audience: Audience) -> Hosts | None:
    """The hosts that are served; None for any.

    On ADMIN_PORT that is every address, too: no name can be made to point to this server by naming one.
    """
    settings = parts.settings
    if not settings.allowed_hosts:
        return None
    hosts = {*settings.allowed_hosts, host_of(parts.links.authority)}
    own = host_of(urlsplit(local_url(*_address(settings, audience))).netloc)
    if audience is Audience.OPERATORS:
        return Hosts({*hosts, own, "localhost"} - {""}, any_address=True)
    if parts.demo is not None:  # the acts of the demonstration use this address
        hosts.add(own)
    return Hosts(hosts - {""})


def _cors(origins: Sequence[str]) -> dict[str, Any]:
    """What pages of other origins may do."""
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": ["*"] if "*" in origins else ALLOWED_HEADERS,
        "expose_headers": _EXPOSED,
    }
