"""Answers every exception that a request may raise with a problem (RFC 9457).

Errors of the HTTP layer are `ProblemError`s and carry their problem. Those of the core and of the framework
know none, so each has a row in `ROWS`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from app.api.refusal_counter import RefusalCounter
from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.token_bucket import Quota, RateLimited
from app.backpressure.upload_queue import ShareExceeded
from app.backpressure.waiting_room import ClientGone, QueueFull
from app.engine.interface import Draining, EngineFull, Starting
from app.server import request_id
from app.server.accept import Accept
from app.server.headers import ConcurrencyPolicy, RangeNotSatisfiable
from app.server.links import FROM_ROOT, Links
from app.server.middleware import UnexpectedErrors
from app.server.problems import KINDS, Problem, ProblemError, rate_limited, render, whole_seconds
from app.storage.interface import EventNotKept, StoreFull, StoreUnavailable
from app.uploads.degraded import DegradedResponse

log = structlog.get_logger(__name__)

Row = Callable[[Any, Quota | None], Problem]
"""Makes the problem of one kind of exception; the quota is the client's rate limit, where it is known."""


def _sentence(error: Exception) -> str:
    return f"{error}.".capitalize()


def _rate(error: RateLimited, _: Quota | None) -> Problem:
    return rate_limited(error.quota)


def _share(error: ShareExceeded, quota: Quota | None) -> Problem:
    policy = ConcurrencyPolicy("share", error.share, whole_seconds(error.retry_after))
    return Problem(KINDS["share"], _sentence(error), error.retry_after, quota, policy)


def _queue(error: QueueFull, quota: Quota | None) -> Problem:
    policy = ConcurrencyPolicy("queue", error.capacity, whole_seconds(error.retry_after))
    detail = str(error)
    return Problem(KINDS["queue"], f"{detail[:1].upper()}{detail[1:]}.", error.retry_after, quota, policy)


def _starting(error: Starting, quota: Quota | None) -> Problem:
    return Problem(KINDS["starting"], _sentence(error), error.retry_after, quota)


def _draining(error: Draining, quota: Quota | None) -> Problem:
    return Problem(KINDS["draining"], _sentence(error), error.retry_after, quota)


def _breaker(error: BreakerOpen, quota: Quota | None) -> Problem:
    members = {"breaker": error.name}
    return Problem(KINDS["breaker"], _sentence(error), error.retry_after, quota, members=members)


def _store_full(_: StoreFull, __: Quota | None) -> Problem:
    return Problem(KINDS["disk"], "The store has no room for this upload.")


def _engine_full(error: EngineFull, quota: Quota | None) -> Problem:
    return Problem(KINDS["disk"], _sentence(error), error.retry_after, quota)


def _event_not_kept(_: EventNotKept, quota: Quota | None) -> Problem:
    detail = "The webhook that would tell of this cannot be kept at the moment."
    return Problem(KINDS["breaker"], detail, 1.0, quota, members={"breaker": "engine"})


def _store_failed(_: OSError, quota: Quota | None) -> Problem:
    detail = "The store does not work at the moment."
    return Problem(KINDS["breaker"], detail, 1.0, quota, members={"breaker": "store"})


def _range(error: RangeNotSatisfiable, _: Quota | None) -> Problem:
    headers = [("Content-Range", f"bytes */{error.size}")]
    return Problem(KINDS["range-not-satisfiable"], _sentence(error), headers=headers)


def _http(error: HTTPException, _: Quota | None) -> Problem:
    headers = tuple((error.headers or {}).items())
    match error.status_code:
        case 404:
            return Problem(KINDS["not-found"], "There is nothing at this address.", headers=headers)
        case 405:
            detail = "This method does not work here."
            return Problem(KINDS["method-not-allowed"], detail, headers=headers)
        case status:
            kind = KINDS["bad-request" if status < 500 else "internal"]
            return Problem(kind, str(error.detail), headers=headers)


def _invalid(error: RequestValidationError, _: Quota | None) -> Problem:
    found = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    return Problem(KINDS["bad-request"], found or "The request is not valid.")


ROWS: dict[type[Exception], Row] = {
    RateLimited: _rate,
    ShareExceeded: _share,
    QueueFull: _queue,
    Starting: _starting,
    Draining: _draining,
    BreakerOpen: _breaker,
    StoreFull: _store_full,
    EngineFull: _engine_full,
    StoreUnavailable: _store_failed,
    EventNotKept: _event_not_kept,
    OSError: _store_failed,
    RangeNotSatisfiable: _range,
    HTTPException: _http,
    RequestValidationError: _invalid,
}


def problem_of(error: Exception, quota: Quota | None = None) -> Problem:
    """The problem with which a `ProblemError` or an exception of `ROWS` is answered.

    `quota` is the client's rate limit, for the RateLimit fields of the answer.
    """
    if isinstance(error, ProblemError):
        return error.problem(quota)
    row = next(ROWS[kind] for kind in type(error).__mro__ if kind in ROWS)
    return row(error, quota)


def _allowed_methods(request: Request) -> str:
    """The Allow field for a request's address, over all routes; Starlette's own is for the first one only."""

    def works(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    methods = [method for method in ("GET", "POST", "DELETE") if works(method)]
    if "GET" in methods:
        methods.append("HEAD")
    return ", ".join(methods)


def _telling(sent_id: bytes | None, problem: Problem) -> Problem:
    """The problem with the id of its request, if that came with one."""
    return (
        problem
        if sent_id is None
        else replace(problem, members=problem.members | request_id.members(sent_id))
    )


@dataclass(frozen=True, slots=True)
class ErrorHandlers:
    """The exception handlers of the application.

    `quota_of` reads a client's rate limit, for a refusal before which no token was spent. `make_page` makes a
    page of a problem and the JSON answer with it, for browsers. `links` makes the types of problems.
    """

    refusals: RefusalCounter
    degraded_response: DegradedResponse
    quota_of: Callable[[Request], Quota]
    make_page: Callable[[Problem, Response], Response] = lambda _, response: response
    links: Links = FROM_ROOT

    def install(self, app: FastAPI) -> None:
        """Have the application answer every exception with a problem."""
        kinds: list[type[Exception]] = [ProblemError, *ROWS]
        for kind in kinds:
            app.add_exception_handler(kind, self.answer)
        app.add_exception_handler(QueueFull, self.queue_full)  # type: ignore[arg-type]  # gets no other
        app.add_exception_handler(ClientDisconnect, self.client_gone)
        app.add_exception_handler(ClientGone, self.client_gone)
        app.add_middleware(UnexpectedErrors, answer=self.unexpected)

    async def answer(self, request: Request, error: Exception) -> Response:
        """The problem of a `ProblemError` or an exception of `ROWS`, counted if it is a refusal."""
        if isinstance(error, OSError) and not isinstance(error, StoreFull):
            log.error("store failed a request", method=request.method, reason=str(error))
        if isinstance(error, HTTPException) and error.status_code == 405:
            error.headers = {"Allow": _allowed_methods(request)}
        problem = problem_of(error, getattr(request.state, "quota", None))
        if problem.quota is None and problem.kind.status in (429, 503):
            problem = replace(problem, quota=self.quota_of(request))
        return self._render(problem, request.scope)

    def refuse_host(self, scope: Scope, error: ProblemError) -> Response:
        """The answer to a request for a host that is not served."""
        return self._render(error.problem(None), scope)

    def refuse(self, error: Exception, quota: Quota, sent_id: bytes | None = None) -> Response:
        """The answer to an upload that is refused by its head alone, before there is a `Request`.

        `sent_id` is the X-Request-Id that it came with.
        """
        problem = _telling(sent_id, problem_of(error, quota))
        self.refusals.count(problem.kind, "POST")
        return self.render_for(problem, "POST", ())

    def _render(self, problem: Problem, scope: Scope) -> Response:
        """A page for a browser that asks for one with GET, else JSON. (HEAD is a GET here.)"""
        self.refusals.count(problem.kind, scope["method"])
        problem = _telling(request_id.sent_id(scope["headers"]), problem)
        return self.render_for(problem, scope["method"], Headers(scope=scope).getlist("accept"))

    def render_for(self, problem: Problem, method: str, accept: Iterable[str]) -> Response:
        """The answer to a request with this method and these Accept lines, whether or not it was whole."""
        response = render(problem, self.links)
        if method in ("GET", "POST"):  # what an upload is answered with depends on it, too
            response.headers.add_vary_header("Accept")
        if method != "GET":
            return response
        return self.make_page(problem, response) if Accept.parse(accept).prefers_html() else response

    async def queue_full(self, request: Request, error: QueueFull) -> Response:
        """The degraded answer where it is wanted, else the problem."""
        if self.degraded_response.wanted_by(request.scope):
            return await self.degraded_response.answer(request, _queue(error, request.state.quota))
        return await self.answer(request, error)

    async def client_gone(self, request: Request, error: Exception) -> Response:  # noqa: ARG002
        """A stand-in for an answer, since the client has closed the connection."""
        return Response(status_code=499)

    def unexpected(self, scope: Scope, error: Exception) -> Response:
        """The answer to any other exception, which is a bug. Its cause is logged and not sent."""
        log.error("request failed", path=scope["path"], exc_info=error)
        return self._render(Problem(KINDS["internal"], "Something went wrong. It has been logged."), scope)
