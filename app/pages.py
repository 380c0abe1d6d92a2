"""The pages for people.

Settings do not change while the service runs, so every page is rendered, and every file read, once at start;
a request then costs a look-up in a frozen table. Nothing a client sends ever becomes part of a file name.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]  # ships no types

from app.problems import KINDS, Kind
from app.settings import Settings

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = MappingProxyType(
    {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)

STATIC_ROOT: Final = Path(__file__).with_name("static")
MEDIA_TYPES: Final = MappingProxyType(
    {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}
)
SWAGGER_FILES: Final = ("swagger-ui.css", "swagger-ui-bundle.js")
HOME_FILES: Final = ("upload.css", "path.css", "js/main.js")
DOCS_FILES: Final = ("swagger/swagger-ui.css", "docs.css", "js/docs.js")
FOOT: Final = "Every figure on these pages is this server's own."

# Past this many, one drawn slot stands for several: a picture of ten thousand slots shows nothing.
SLOTS_DRAWN: Final = 100
WORKERS_DRAWN: Final = 32
GUARDS: Final = ("rate", "share", "draining", "breaker", "queue", "disk")


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes ready to be sent, and what a cache may do with them."""

    body: bytes
    media_type: str
    cache_control: str
    etag: str

    @classmethod
    def of(cls, body: bytes, media_type: str, cache_control: str = "no-cache") -> "Document":
        return cls(body, media_type, cache_control, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    def answer(self, request: Request) -> Response:
        headers = {**PAGE_HEADERS, "ETag": self.etag, "Cache-Control": self.cache_control}
        known = request.headers.get("if-none-match", "").replace("W/", "")
        if known.strip() == "*" or self.etag in (tag.strip() for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(self.body, media_type=self.media_type, headers=headers)


def pages_router(settings: Settings) -> APIRouter:
    """All pages under one router; raises at start, not at a request, when a file is missing."""
    assets = _assets()
    release = _release(assets)
    home = _page(release, "Spillway", _home(settings), HOME_FILES)
    docs = _page(release, "API · Spillway", _template("docs").substitute(), DOCS_FILES)
    index = _page(release, "Problems · Spillway", _problem_index())
    problems = {
        slug: _page(release, f"{kind.title} · Spillway", _problem(kind)) for slug, kind in KINDS.items()
    }
    served = MappingProxyType(
        assets
        | {
            f"{release}/{path}": Document(a.body, a.media_type, "public, max-age=31536000, immutable", a.etag)
            for path, a in assets.items()
        }
    )
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def show_home(request: Request) -> Response:
        return home.answer(request)

    @router.get("/docs")
    async def show_docs(request: Request) -> Response:
        return docs.answer(request)

    @router.get("/problems")
    async def show_problems(request: Request) -> Response:
        return index.answer(request)

    @router.get("/problems/{slug}")
    async def show_problem(request: Request, slug: str) -> Response:
        return _known(problems, slug).answer(request)

    @router.get("/static/{path:path}")
    async def send_asset(request: Request, path: str) -> Response:
        return _known(served, path).answer(request)

    @router.get("/favicon.ico")
    async def send_favicon(request: Request) -> Response:
        return served["favicon.svg"].answer(request)

    return router


def _known(documents: Mapping[str, Document], name: str) -> Document:
    document = documents.get(name)
    if document is None:
        raise HTTPException(404)
    return document


def _assets() -> dict[str, Document]:
    ours = {
        path.relative_to(STATIC_ROOT).as_posix(): path.read_bytes()
        for path in sorted(STATIC_ROOT.rglob("*"))
        if path.suffix in MEDIA_TYPES
    }
    swagger = {f"swagger/{name}": (swagger_ui_path / name).read_bytes() for name in SWAGGER_FILES}
    return {
        path: Document.of(body, MEDIA_TYPES[Path(path).suffix]) for path, body in (ours | swagger).items()
    }


def _release(assets: Mapping[str, Document]) -> str:
    """Names this set of files, so that a folder of it may be cached for good and modules never mix."""
    return hashlib.sha256("".join(a.etag for a in assets.values()).encode()).hexdigest()[:12]


def _template(name: str) -> Template:
    return Template((STATIC_ROOT / "pages" / f"{name}.html").read_text(encoding="utf-8"))


def _page(release: str, title: str, body: str, files: tuple[str, ...] = ()) -> Document:
    head = "".join(
        f'<script type="module" src="/static/{release}/{file}"></script>\n'
        if file.endswith(".js")
        else f'<link rel="stylesheet" href="/static/{release}/{file}">\n'
        for file in files
    )
    page = _template("layout").substitute(
        title=escape(title), release=release, head=head, body=body, foot=FOOT
    )
    return Document.of(page.encode(), "text/html")


def _home(settings: Settings) -> str:
    slots = min(settings.queue_size, SLOTS_DRAWN)
    turbine = _template("worker").substitute().strip()
    leaky = settings.limiter == "leaky_bucket"
    values = {
        "limiter": settings.limiter,
        "rate": f"{settings.rate:g}",
        "burst": settings.burst,
        "limit": math.floor(settings.rate * settings.max_delay) + 1 if leaky else settings.burst,
        "bucket": _leaky_sentence(settings) if leaky else _token_sentence(settings),
        "queue_size": settings.queue_size,
        "max_receiving": settings.max_receiving,
        "max_wait": _duration(settings.max_wait),
        "client_share": settings.client_share,
        "workers": settings.workers,
        "job_timeout": _duration(settings.job_timeout),
        "max_upload": _size(settings.max_upload_bytes),
        "max_pixels": f"{settings.max_pixels / 1e6:g}",
        "retention": _duration(settings.retention),
        "on_full": settings.on_full,
        "variants": ", ".join(f"{v.name} {v.side}" for v in settings.variants),
        "sizes": "one size" if len(settings.variants) == 1 else f"{len(settings.variants)} sizes",
    }
    pieces = {
        "guards": "".join(_guard(KINDS[name]) for name in GUARDS),
        "slots": "<i></i>" * slots,
        "turbine": turbine,
        "turbines": turbine * min(settings.workers, WORKERS_DRAWN),
    }
    return _template("home").substitute({k: escape(str(v)) for k, v in values.items()} | pieces)


def _token_sentence(settings: Settings) -> str:
    return (
        f"Your address owns a bucket of {settings.burst} tokens, refilled at {settings.rate:g} a second; "
        "each upload that asks takes one, and an empty bucket answers 429."
    )


def _leaky_sentence(settings: Settings) -> str:
    return (
        f"Your address may ask once every {1 / settings.rate:.3g} s; an early upload is held for up to "
        f"{settings.max_delay:g} s, and beyond that is answered 429."
    )


def _guard(kind: Kind) -> str:
    return (
        f'<li><a href="/problems/{kind.slug}">{kind.slug}</a> <small>{kind.status}</small>'
        f'<b data-figure="refusals.{kind.slug}">&ndash;</b></li>'
    )


def _problem(kind: Kind) -> str:
    return _template("problem").substitute(
        slug=escape(kind.slug),
        status=kind.status,
        title=escape(kind.title),
        meaning=escape(kind.meaning),
        remedy=escape(kind.remedy),
    )


def _problem_index() -> str:
    kinds = sorted(KINDS.values(), key=lambda kind: (kind.status, kind.slug))
    rows = "".join(
        f'<li><b>{kind.status}</b><a href="/problems/{escape(kind.slug)}">{escape(kind.title)}</a>'
        f"<p>{escape(kind.meaning)}</p></li>"
        for kind in kinds
    )
    return _template("problems").substitute(rows=rows)


def _size(amount: int) -> str:
    value, unit = float(amount), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:g} seconds"
