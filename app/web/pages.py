"""The pages for people.

Settings do not change while the service runs, so every page is rendered, and every file read, once at start;
a request then costs a look-up in a frozen table. Nothing a client sends ever becomes part of a file name.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from app.server.problems import KINDS, Kind
from app.settings import Settings
from app.web.home import STATIC_ROOT, render_home, template

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

MEDIA_TYPES: Final = MappingProxyType(
    {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}
)
SWAGGER_ROOT: Final = files("fastapi_offline") / "static"
SWAGGER_FILES: Final = ("swagger-ui.css", "swagger-ui-bundle.js")
HOME_FILES: Final = ("upload.css", "path.css", "minute.css", "js/main.js")
DEMO_FILES: Final = ("pressure.css", "js/demo.js")
DOCS_FILES: Final = ("page.css", "swagger/swagger-ui.css", "docs.css", "js/docs.js")
PAGE_FILES: Final = ("page.css",)
FOOT: Final = "Every figure on these pages is this server's own."


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes ready to be sent, as they are and packed, and what a cache may do with them."""

    body: bytes
    packed: bytes
    media_type: str
    cache_control: str
    digest: str

    @classmethod
    def of(cls, body: bytes, media_type: str) -> "Document":
        """One that is asked for anew each time."""
        digest = hashlib.sha256(body).hexdigest()[:32]
        return cls(body, gzip.compress(body, mtime=0), media_type, "no-cache", digest)

    def answer(self, request: Request) -> Response:
        """Packed for whoever can unpack it; 304 for whoever has it, in either form."""
        packs = "gzip" in request.headers.get("accept-encoding", "")
        etags = [f'"{self.digest}"', f'"{self.digest}-gzip"']
        headers = {**PAGE_HEADERS, "Cache-Control": self.cache_control, "Vary": "Accept-Encoding"}
        headers["ETag"] = etags[packs]
        known = request.headers.get("if-none-match", "").replace("W/", "")
        if known.strip() == "*" or any(tag.strip() in etags for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        if packs:
            headers["Content-Encoding"] = "gzip"
        return Response(self.packed if packs else self.body, media_type=self.media_type, headers=headers)


def pages_router(settings: Settings) -> APIRouter:
    """All pages under one router; raises at start, not at a request, when a file is missing."""
    assets = _assets()
    release = _release(assets)
    home_files = (*HOME_FILES, *(DEMO_FILES if settings.demo else ()))
    home = _page(release, "Spillway", render_home(settings), home_files)
    docs = _page(release, "API · Spillway", template("docs").substitute(), DOCS_FILES)
    index = _page(release, "Problems · Spillway", _problem_index(), PAGE_FILES)
    problems = {
        slug: _page(release, f"{kind.title} · Spillway", _problem(kind), PAGE_FILES)
        for slug, kind in KINDS.items()
    }
    served = MappingProxyType(
        assets
        | {
            f"{release}/{path}": replace(a, cache_control="public, max-age=31536000, immutable")
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
    swagger = {f"swagger/{name}": (SWAGGER_ROOT / name).read_bytes() for name in SWAGGER_FILES}
    return {
        path: Document.of(body, MEDIA_TYPES[Path(path).suffix]) for path, body in (ours | swagger).items()
    }


def _release(assets: Mapping[str, Document]) -> str:
    """Names this set of files, so that a folder of it may be cached for good and modules never mix."""
    return hashlib.sha256("".join(a.digest for a in assets.values()).encode()).hexdigest()[:12]


def _page(release: str, title: str, body: str, files: tuple[str, ...] = ()) -> Document:
    head = "".join(
        f'<script type="module" src="/static/{release}/{file}"></script>\n'
        if file.endswith(".js")
        else f'<link rel="stylesheet" href="/static/{release}/{file}">\n'
        for file in files
    )
    page = template("layout").substitute(
        title=escape(title), release=release, head=head, body=body, foot=FOOT
    )
    return Document.of(page.encode(), "text/html")


def _problem(kind: Kind) -> str:
    return template("problem").substitute(
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
    return template("problems").substitute(rows=rows)
