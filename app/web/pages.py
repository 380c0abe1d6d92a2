"""The pages for people: the home page, the description of the API, and one page for each problem type.

Settings do not change while the service runs: every page is rendered, and every file is read, once at start.
A request then costs a look-up in a frozen table. Nothing that a client sends becomes part of a file name.
"""

import gzip
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.runtime.sizes import format_size
from app.server.conditional import is_not_modified
from app.server.headers import accepts_gzip
from app.server.problems import KINDS, Problem, whole_seconds
from app.server.routes import UnparsedRoute
from app.settings import Settings
from app.web.home import format_duration, format_number, format_percent, home_values
from app.web.tour import source_pages

STATIC_ROOT: Final = Path(__file__).with_name("static")
TEMPLATE_ROOT: Final = Path(__file__).with_name("templates")


def content_security_policy(images_origin: str = "") -> str:
    """What a page may load: only what is sent from here, and pictures of `images_origin`, if there is one."""
    here = f"'self' {images_origin}".strip()
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {here} data: blob:; "
        f"connect-src {here}; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


CONTENT_SECURITY_POLICY: Final = content_security_policy()
PAGE_HEADERS: Final = MappingProxyType(
    {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)

MEDIA_TYPES: Final = MappingProxyType(
    {
        ".css": "text/css",
        ".js": "text/javascript",
        ".ts": "application/typescript",
        ".svg": "image/svg+xml",
        ".png": "image/png",
    }
)
CLIENT_FILES: Final = ("js/client.js", "js/client.d.ts")
"""What pages of other origins use: they may read it, from the root of the service too."""
COMMENT_LINES: Final = re.compile(rb"^ *//.*\n", re.MULTILINE)
"""Lines of a script that are comments, a quarter of it when gzipped. Browsers are sent the rest."""
SWAGGER_ROOT: Final = files("fastapi_offline") / "static"
SWAGGER_FILES: Final = ("swagger-ui.css", "swagger-ui-bundle.js")
HOME_FILES: Final = ("upload.css", "path.css", "js/main.js")
STATISTICS_FILES: Final = ("minute.css", "js/live.js")
DEMO_FILES: Final = ("pressure.css", "js/demo.js", "js/tour.js")
_GZIP_LEVEL: Final = 5
"""Half the time of the highest level, most of it before the service is ready, for files 1.3 % larger."""
IMPORT: Final = re.compile(r'^import .*?"\./([^"]+)";$', re.MULTILINE)
"""An import of another module of the same folder."""
DOCS_FILES: Final = ("page.css", "swagger/swagger-ui.css", "docs.css", "js/docs.js")
PAGE_FILES: Final = ("page.css",)


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages of one port have in common."""

    root: str = ""
    """What the path of every link begins with; empty for links from the root of the server."""
    has_statistics: bool = True
    """Whether the port has metrics and statistics, and pages that show them."""
    images_origin: str = ""
    """Where the images of this service come from, if that is not this service."""


WHOLE_SITE: Final = Site()


@dataclass(frozen=True, slots=True)
class Document:
    """A page or a static file, ready to be sent: plain and gzipped, and what a cache may do with it."""

    body: bytes
    gzipped: bytes
    media_type: str
    cache_control: str
    digest: str
    """The first 32 hexadecimal digits of the SHA-256 of `body`, for entity tags."""
    policy: str = CONTENT_SECURITY_POLICY
    is_for_everyone: bool = False
    """Whether pages of any origin may read it."""

    @classmethod
    def of(cls, body: bytes, media_type: str) -> "Document":
        """A document that a cache must revalidate before each use."""
        digest = hashlib.sha256(body).hexdigest()[:32]
        return cls(body, gzip.compress(body, _GZIP_LEVEL, mtime=0), media_type, "no-cache", digest)

    def answer(self, request: Request) -> Response:
        """The response to a GET: gzipped if the client accepts that, 304 if it has either form already."""
        zipped = accepts_gzip(request.headers.getlist("accept-encoding"))
        plain_etag, gzip_etag = f'"{self.digest}"', f'"{self.digest}-gzip"'
        headers = {
            **PAGE_HEADERS,
            "Content-Security-Policy": self.policy,
            "Cache-Control": self.cache_control,
            "Vary": "Accept-Encoding",
        }
        if self.is_for_everyone:
            headers["Access-Control-Allow-Origin"] = "*"
        headers["ETag"] = gzip_etag if zipped else plain_etag
        if is_not_modified(request.headers, plain_etag, gzip_etag):
            return Response(status_code=304, headers=headers)
        if not zipped:
            return Response(self.body, media_type=self.media_type, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return Response(self.gzipped, media_type=self.media_type, headers=headers)


class PageRenderer:
    """Renders templates into documents, with links to the static files of one `release`."""

    def __init__(self, release: str, assets: Mapping[str, Document], site: Site) -> None:
        self.release = release
        self._assets = assets
        self._policy = content_security_policy(site.images_origin)
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATE_ROOT),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.globals |= {"root": site.root, "has_statistics": site.has_statistics}
        self._environment.filters |= {
            "duration": format_duration,
            "number": format_number,
            "percent": format_percent,
            "size": format_size,
        }

    def render(self, template: str, title: str, files: tuple[str, ...], **values: Any) -> Document:
        """A page that is made once and sent often; see `render_text`."""
        page = Document.of(self.render_text(template, title, files, **values).encode(), "text/html")
        return replace(page, policy=self._policy)

    def render_text(self, template: str, title: str, files: tuple[str, ...], **values: Any) -> str:
        """A page of the template of this name, which loads these stylesheets and scripts.

        Raises:
            jinja2.TemplateError: there is no such template, or it names a variable that is not in `values`.
        """
        return self._environment.get_template(f"{template}.html").render(
            title=title,
            release=self.release,
            files=files,
            modules=_imported(files, self._assets),
            **values,
        )


def problem_page_maker(site: Site) -> Callable[[Problem, Response], Response]:
    """What turns a problem, and the JSON answer with it, into a page for the person who asked."""
    pages = _renderer(site)

    def make(problem: Problem, answer: Response) -> Response:
        wait_s = None if problem.retry_after is None else whole_seconds(problem.retry_after)
        title = f"{problem.kind.title} · Spillway"
        text = pages.render_text("error", title, PAGE_FILES, problem=problem, wait_s=wait_s)
        page = HTMLResponse(text, answer.status_code)
        for name, value in answer.headers.items():
            if name not in ("content-type", "content-length"):
                page.headers[name] = value
        page.headers.update(PAGE_HEADERS)
        return page

    return make


def pages_router(settings: Settings, site: Site = WHOLE_SITE) -> APIRouter:
    """All pages under one router; a missing file raises here, at start, and not at a request."""
    assets, pages = _assets(), _renderer(site)
    has_demo = settings.demo and site.has_statistics
    home_files = (*HOME_FILES, *STATISTICS_FILES * site.has_statistics, *DEMO_FILES * has_demo)
    home = pages.render("home", "Spillway", home_files, has_demo=has_demo, **home_values(settings))
    docs = pages.render("docs", "API · Spillway", DOCS_FILES)
    kinds = sorted(KINDS.values(), key=lambda kind: (kind.status, kind.slug))
    index = pages.render("problems", "Problems · Spillway", PAGE_FILES, kinds=kinds)
    problems = {
        kind.slug: pages.render("problem", f"{kind.title} · Spillway", PAGE_FILES, kind=kind)
        for kind in kinds
    }
    released = {f"{pages.release}/{path}": _forever(asset) for path, asset in assets.items()}
    sources = source_pages(pages.render, PAGE_FILES) if has_demo else {}
    served = MappingProxyType(assets | released | sources)
    router = APIRouter(include_in_schema=False, route_class=UnparsedRoute)

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
        return _document(problems, slug).answer(request)

    @router.get("/static/{path:path}")
    async def send_asset(request: Request, path: str) -> Response:
        return _document(served, path).answer(request)

    @router.get("/client.js")
    @router.get("/client.d.ts")
    async def send_client(request: Request) -> Response:
        return _document(served, f"js/{request.url.path.rpartition('/')[2]}").answer(request)

    @router.get("/favicon.ico")
    async def send_favicon(request: Request) -> Response:
        return served["favicon.svg"].answer(request)

    return router


def _imported(files: tuple[str, ...], assets: Mapping[str, Document]) -> list[str]:
    """The modules that the scripts among these files import, directly or not, in the order of their names.

    A browser that is told of all of them at once loads them in parallel, instead of level by level.
    """
    found: set[str] = set()
    waiting = [file for file in files if file.startswith("js/")]
    while waiting:
        names = {f"js/{name}" for name in IMPORT.findall(assets[waiting.pop()].body.decode())}
        waiting += names - found
        found |= names
    return sorted(found - set(files))


def _forever(asset: Document) -> Document:
    return replace(asset, cache_control="public, max-age=31536000, immutable")


def _document(documents: Mapping[str, Document], name: str) -> Document:
    document = documents.get(name)
    if document is None:
        raise HTTPException(404)
    return document


@cache
def _assets() -> dict[str, Document]:
    """Every static file by its path below `/static/`; those of Swagger UI come with a library."""
    own = {
        path.relative_to(STATIC_ROOT).as_posix(): path.read_bytes()
        for path in sorted(STATIC_ROOT.rglob("*"))
        if path.suffix in MEDIA_TYPES
    }
    swagger = {f"swagger/{name}": (SWAGGER_ROOT / name).read_bytes() for name in SWAGGER_FILES}
    return {path: _asset(path, body) for path, body in (own | swagger).items()}


def _asset(path: str, body: bytes) -> Document:
    if path.startswith("js/") and path.endswith(".js"):
        body = COMMENT_LINES.sub(b"", body)
    document = Document.of(body, MEDIA_TYPES[Path(path).suffix])
    return replace(document, is_for_everyone=path in CLIENT_FILES)


@cache
def _renderer(site: Site) -> PageRenderer:
    """The renderer of every page of a port; it keeps the templates that it has compiled."""
    assets = _assets()
    return PageRenderer(_release(assets), assets, site)


def _release(assets: Mapping[str, Document]) -> str:
    """A name for exactly these contents: a browser may cache what lies under it, and never mixes releases."""
    return hashlib.sha256("".join(asset.digest for asset in assets.values()).encode()).hexdigest()[:12]
