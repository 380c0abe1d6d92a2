"""Turns what the parts raise into problems on the wire, and counts it: one row for each exception."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from app.api.images import Forbidden, NotFound, NotReady, Unauthorized, UnknownVariant
from app.api.status import NotServing
from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.token_bucket import Quota, RateLimited
from app.backpressure.upload_queue import ShareExceeded
from app.backpressure.waiting_room import ClientGone, QueueFull
from app.engine.interface import Draining
from app.server.headers import ConcurrencyPolicy, RangeNotSatisfiable
from app.server.middleware import Faults
from app.server.problems import KINDS, Problem, render, whole_seconds
from app.server.streaming import TooManyStreams
from app.storage.interface import StoreFull
from app.uploads.admission import TooLarge, UnsupportedType
from app.uploads.body import NoFile, UploadTooSlow
from app.uploads.degraded import DegradedResponse
from app.uploads.idempotency import KeyInUse, KeyMismatch, MalformedKey, TooManyReplays
from app.uploads.multipart import MalformedForm
from app.web.demo_runner import ActRunning
from app.web.demo_settings import InvalidDemoSetting
from app.web.origin import ForeignOrigin

log = structlog.get_logger(__name__)

ACCEPT = "multipart/form-data, image/*, application/octet-stream"

Row = Callable[[Any, Quota | None], Problem]


def _plain(slug: str, *headers: tuple[str, str]) -> Row:
    return lambda error, _: Problem(KINDS[slug], str(error), headers=headers)


def _rate(error: RateLimited, _: Quota | None) -> Problem:
    detail = f"This client's bucket of {error.quota.limit} is empty; the {error}."
    return Problem(KINDS["rate"], detail, error.retry_after, error.quota)


def _share(error: ShareExceeded, quota: Quota | None) -> Problem:
    policy = ConcurrencyPolicy("share", error.share, whole_seconds(error.retry_after))
    return Problem(KINDS["share"], f"{error}.".capitalize(), error.retry_after, quota, policy)


def _queue(error: QueueFull, quota: Quota | None) -> Problem:
    policy = ConcurrencyPolicy("queue", error.capacity, whole_seconds(error.retry_after))
    return Problem(KINDS["queue"], f"The queue is full; {error}.", error.retry_after, quota, policy)


def _paused(slug: str) -> Row:
    return lambda error, quota: Problem(KINDS[slug], f"{error}.".capitalize(), error.retry_after, quota)


def _too_large(error: TooLarge, _: Quota | None) -> Problem:
    limit = ("Upload-Limit", f"max-size={error.max_bytes}")
    return Problem(KINDS["too-large"], f"The file is too large: {error}.", headers=[limit])


def _not_ready(error: NotReady, _: Quota | None) -> Problem:
    return Problem(KINDS["not-ready"], str(error), error.retry_after)


def _range(error: RangeNotSatisfiable, _: Quota | None) -> Problem:
    headers = [("Content-Range", f"bytes */{error.size}")]
    return Problem(KINDS["range-not-satisfiable"], f"{error}.".capitalize(), headers=headers)


def _not_serving(error: NotServing, quota: Quota | None) -> Problem:
    members = {"reasons": error.reasons}
    return Problem(KINDS["not-serving"], f"Not ready: {error}.", 1.0, quota, members=members)


_STATUS_KINDS = {404: "not-found", 405: "method-not-allowed"}


def _http(error: HTTPException, _: Quota | None) -> Problem:
    slug = _STATUS_KINDS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    headers = tuple((error.headers or {}).items())
    detail = {404: "There is nothing at this address.", 405: "This method does not work here."}
    return Problem(KINDS[slug], detail.get(error.status_code, str(error.detail)), headers=headers)


def _invalid(error: RequestValidationError, _: Quota | None) -> Problem:
    found = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    return Problem(KINDS["bad-request"], found or "The request is not valid.")


def _unreadable(_: OSError, quota: Quota | None) -> Problem:
    return Problem(KINDS["breaker"], "The store does not work just now.", 1.0, quota)


ROWS: dict[type[Exception], Row] = {
    RateLimited: _rate,
    ShareExceeded: _share,
    QueueFull: _queue,
    Draining: _paused("draining"),
    BreakerOpen: _paused("breaker"),
    NotServing: _not_serving,
    TooManyStreams: _paused("streams"),
    StoreFull: lambda _, __: Problem(KINDS["disk"], "The store has no room for this upload."),
    TooLarge: _too_large,
    UnsupportedType: _plain("unsupported-media-type", ("Accept", ACCEPT)),
    MalformedForm: _plain("malformed-multipart"),
    NoFile: _plain("no-file"),
    MalformedKey: _plain("bad-request"),
    KeyInUse: _plain("repeat-too-soon"),
    KeyMismatch: _plain("repeat-differs"),
    TooManyReplays: _paused("repeats"),
    UploadTooSlow: _plain("upload-too-slow"),
    UnknownVariant: _plain("unknown-variant"),
    Unauthorized: _plain("unauthorized", ("WWW-Authenticate", "Bearer")),
    Forbidden: _plain("forbidden"),
    NotFound: _plain("not-found"),
    NotReady: _not_ready,
    RangeNotSatisfiable: _range,
    ForeignOrigin: lambda error, _: Problem(KINDS["foreign-origin"], f"{error}.".capitalize()),
    ActRunning: lambda error, _: Problem(KINDS["act-running"], f"{error}.".capitalize(), error.retry_after),
    InvalidDemoSetting: lambda error, _: Problem(KINDS["bad-request"], f"{error}.".capitalize()),
    HTTPException: _http,
    RequestValidationError: _invalid,
    OSError: _unreadable,
}


def _allowed(request: Request) -> str:
    """The methods that work at a request's address, of whatever route: Starlette names those of the first."""

    def works(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    methods = [method for method in ("GET", "POST", "DELETE") if works(method)]
    return ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])


_BODY_STATUSES = (400, 408, 413, 415)
_TELL_EVERY = 1.0


def problem_of(error: Exception, quota: Quota | None = None) -> Problem:
    """The problem that an exception of `ROWS` becomes; `quota` is the client's, where a token was spent."""
    row = next(ROWS[kind] for kind in type(error).__mro__ if kind in ROWS)
    return row(error, quota)


class Refusals:
    """Counts refusals by guard, and those of bodies by status."""

    def __init__(self) -> None:
        guards = ("rate", "share", "draining", "breaker", "queue", "disk", "streams", "repeats")
        self._counts: Counter[str] = Counter(dict.fromkeys([*guards, *map(str, _BODY_STATUSES)], 0))

    def answer(self, error: Exception, quota: Quota | None, method: str) -> Response:
        """The problem that an exception of `ROWS` becomes, counted."""
        problem = problem_of(error, quota)
        guard, status = problem.kind.guard, problem.kind.status
        if guard is not None:
            self.count(guard)
        elif method == "POST" and status in _BODY_STATUSES:
            self.count(str(status))
        return render(problem)

    def count(self, reason: str) -> None:
        """One more refusal by a guard, or of a body with a status."""
        self._counts[reason] += 1

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Log how many were refused, once a second at most: a flood must not fill the disk with lines."""
        task = asyncio.create_task(self._tell(self._counts.copy()), name="refusals")
        try:
            yield
        finally:
            task.cancel()

    async def _tell(self, told: Counter[str]) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY)
            if fresh := self._counts - told:
                log.info("refused in the last second", **fresh)
                told = self._counts.copy()

    def snapshot(self) -> dict[str, int]:
        """The counters."""
        return dict(self._counts)


def install(
    app: FastAPI,
    refusals: Refusals,
    degraded_response: DegradedResponse,
    quota_of: Callable[[Request], Quota],
) -> None:
    """Have the application answer each exception of `ROWS` with its problem.

    `quota_of` reads a client's bucket for the RateLimit fields of a refusal before which none was spent.
    """

    async def answer(request: Request, error: Exception) -> Response:
        quota = getattr(request.state, "quota", None)
        if quota is None and isinstance(error, TooManyStreams | NotServing | OSError):
            quota = quota_of(request)
        if isinstance(error, OSError):
            log.error("store failed a request", method=request.method, reason=str(error))
        if isinstance(error, HTTPException) and error.status_code == 405:
            error.headers = {"Allow": _allowed(request)}
        return refusals.answer(error, quota, request.method)

    async def gone(request: Request, error: Exception) -> Response:  # noqa: ARG001
        return Response(status_code=499)  # nobody is there to read it

    def internal(scope: Scope, error: Exception) -> Response:
        log.error("request failed", path=scope["path"], exc_info=error)
        return render(Problem(KINDS["internal"], "Something went wrong. It has been logged."))

    async def full(request: Request, error: QueueFull) -> Response:
        if degraded_response.wanted_by(request.scope):
            return await degraded_response.answer(request, _queue(error, request.state.quota))
        return await answer(request, error)

    for kind in ROWS:
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(QueueFull, full)  # type: ignore[arg-type]  # gets no other
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(ClientGone, gone)
    app.add_middleware(Faults, answer=internal)
