"""The endpoints behind the page's panel "Make pressure". They exist only with the setting DEMO."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from app.backpressure.token_bucket import Quota
from app.server.hosts import Hosts, host_of, is_address
from app.server.listener import local_url
from app.server.problems import KINDS, NotFound, ProblemError
from app.server.routes import UnparsedRoute, query_of
from app.stampede.acts import ACTS
from app.stampede.target import source_address
from app.web.demo_runner import DemoRunner
from app.web.demo_settings import DemoSettings, InvalidDemoSetting, Lever

_BUCKETS_SHOWN = 6


class ForeignOrigin(ProblemError):
    """Raised when a request does not prove that it comes from this server's own page."""

    slug = "foreign-origin"

    def __init__(self) -> None:
        super().__init__("Only this server's own page may do this.")


def same_origin_check(public_authority: str) -> Callable[[Request], None]:
    """A dependency that lets through only requests of this server's own page, or else raises ForeignOrigin.

    It goes by two fields that a browser sets and a script cannot: Sec-Fetch-Site (W3C Fetch Metadata), which
    over plain HTTP is sent to loopback addresses alone, and Origin (RFC 6454). That names the host that the
    request was sent to, or `public_authority`, host and port of the public URL, where a proxy changes the
    former.
    """

    def check(request: Request) -> None:
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        if site is None and origin is None:
            raise ForeignOrigin
        if site is not None and site != "same-origin":
            raise ForeignOrigin
        own = {request.headers.get("host"), public_authority} - {None, ""}
        if origin is not None and _authority(origin) not in own:
            raise ForeignOrigin

    return check


def own_host_check(host: str, named_hosts: Iterable[str]) -> Callable[[Request], None]:
    """A dependency that lets through only requests that name this server by a name of its own.

    To a browser, a page elsewhere whose name is made to point to this server (DNS rebinding) is of the same
    origin. Its name is not among these: addresses at which the server listens, `host`, localhost, and
    `named_hosts`, those of the settings. A server that listens on every address may be behind a port of
    another machine, as in a container, so it takes any IP address: none can be rebound.
    """
    own = Hosts({"localhost", host, *named_hosts} - {""})
    listens_everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    def check(request: Request) -> None:
        named = host_of(request.headers.get("host", ""))
        is_local = is_address(named) and named.strip("[]") == request.scope["server"][0]
        if not (named in own or is_local or (listens_everywhere and is_address(named))):
            raise ForeignOrigin

    return check


def _authority(origin: str) -> str | None:
    """Host and port in an Origin field; None for what is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


class DemoDocument(BaseModel):
    """The levers of a demonstration, and the act of the stampede that runs."""

    levers: dict[str, float] = Field(description="the settings that can be changed, as they are now")
    back_in_s: int | None = Field(description="seconds until all are reset; null while none is changed")
    act: str | None = Field(description="the act that runs")
    left_s: int | None = Field(description="the seconds that it may last yet")
    last: dict[str, Any] | None = Field(description="the figures of the act before")
    buckets: list[float] = Field(
        description="how full the buckets of the act's first clients are, from 0 to 1; empty without an act"
    )
    unbounded: dict[str, Any] | None = Field(
        description="the figures of the service whose queue has no bound, in the last act with a crowd"
    )


class Demo:
    """The levers and the acts of one server."""

    def __init__(self, settings: DemoSettings, runner: DemoRunner, quota_of: Callable[[str], Quota]) -> None:
        """`quota_of` tells what is left in a client's bucket."""
        self.settings = settings
        self.runner = runner
        self._quota_of = quota_of

    def snapshot(self) -> dict[str, Any]:
        """The state of the levers and of the act that runs, as `/v1/stats` and these endpoints show it."""
        return self.settings.snapshot() | self.runner.snapshot() | {"buckets": self._buckets()}

    def _buckets(self) -> list[float]:
        """How full the buckets of the first clients of the act that runs are, from 0 to 1."""
        if self.runner.act is None:
            return []
        number = [act.name for act in ACTS].index(self.runner.act)
        quotas = [self._quota_of(source_address(number, client)) for client in range(_BUCKETS_SHOWN)]
        return [quota.remaining / quota.limit for quota in quotas]


def demo_router(demo: Demo, host: str, named_hosts: Iterable[str], public_authority: str) -> APIRouter:
    """The endpoints under `/v1/demo`; `host` is the address at which the server listens.

    `named_hosts` and `public_authority`, which may be empty, are for the two checks of where a request comes
    from.
    """
    guards = [Depends(same_origin_check(public_authority)), Depends(own_host_check(host, named_hosts))]
    router = APIRouter(prefix="/v1/demo", tags=["demo"], dependencies=guards, route_class=UnparsedRoute)
    act_names = {act.name for act in ACTS}

    def state(status: int = 200) -> Response:
        return JSONResponse(demo.snapshot(), status, headers={"Cache-Control": "no-store"})

    @router.post(
        "/levers",
        openapi_extra={"parameters": [_describe(*lever) for lever in demo.settings.levers.items()]},
        responses=_answers(200, "foreign-origin", "bad-request"),
    )
    async def set_levers(request: Request) -> Response:
        """Set some levers, each a parameter of the query, such as `?rate=5&workers=1`."""
        demo.settings.set({name: _number(value) for name, value in query_of(request.scope).items()})
        return state()

    @router.delete("/levers", responses=_answers(200, "foreign-origin"))
    async def reset_levers() -> Response:
        """Put all levers back to the settings."""
        demo.settings.reset()
        return state()

    @router.post(
        "/acts/{name}", status_code=202, responses=_answers(202, "foreign-origin", "not-found", "act-running")
    )
    async def start_act(
        request: Request, name: Annotated[str, Path(json_schema_extra={"enum": sorted(act_names)})]
    ) -> Response:
        """Start an act of the stampede against this server."""
        if name not in act_names:
            raise NotFound
        demo.runner.start(name, local_url(host, request.scope["server"][1]))
        return state(202)

    @router.delete("/acts", responses=_answers(200, "foreign-origin"))
    async def stop_act() -> Response:
        """Stop the act that runs."""
        await demo.runner.stop()
        return state()

    return router


def _describe(name: str, lever: Lever) -> dict[str, Any]:
    """The parameter by which a lever is set, for the description of the API."""
    schema = {
        "type": "number" if lever.step < 1 else "integer",
        "minimum": lever.minimum,
        "maximum": lever.maximum,
    }
    description = f"{lever.preset:g} by the settings"
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _answers(status: int, *slugs: str) -> dict[int | str, dict[str, Any]]:
    """The answers of an endpoint, for the description of the API: the state, or one of these problems."""
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": DemoDocument, "description": "As it is now."}
    }
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    for kind in (KINDS[slug] for slug in slugs):
        content = {"application/problem+json": {"schema": schema}}
        answers[kind.status] = {"description": f"`{kind.slug}`: {kind.meaning}", "content": content}
    return answers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidDemoSetting(f"{text[:20]!r} is no number.") from None
