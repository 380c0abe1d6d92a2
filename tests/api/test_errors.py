"""The problems with which exceptions are answered."""

import asyncio
import importlib
import json
import math
import pkgutil
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from structlog.testing import capture_logs

import app
from app.api.errors import ROWS, ErrorHandlers
from app.api.images import Forbidden, NotReady, Unauthorized
from app.api.originals import UnderWay
from app.api.refusal_counter import RefusalCounter
from app.api.status import NotServing
from app.api.upload_answers import NotAcceptable
from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.token_bucket import Quota, RateLimited
from app.backpressure.upload_queue import ShareExceeded
from app.backpressure.waiting_room import QueueFull
from app.engine.interface import Draining, EngineFull, Starting
from app.engine.preview_worker import PreviewWorker
from app.server.conditional import PreconditionFailed
from app.server.headers import RangeNotSatisfiable
from app.server.hosts import Misdirected
from app.server.links import FROM_ROOT
from app.server.open_requests import TooManyStreams
from app.server.problems import (
    KINDS,
    QUOTA_EXCEEDED,
    REDUCED_CAPACITY,
    NotFound,
    Problem,
    ProblemError,
    render,
    whole_seconds,
)
from app.server.routes import TooManyParameters
from app.storage.interface import EventNotKept, StoreFull, StoreUnavailable
from app.uploads.body import UploadTooSlow
from app.uploads.degraded import DegradedResponse
from app.uploads.file_sink import ACCEPT, NoFile, TooLarge, UnsupportedCoding, UnsupportedType
from app.uploads.idempotency import KeyInUse, KeyMismatch, MalformedKey, TooManyReplays
from app.uploads.multipart import MalformedForm
from app.uploads.receiver import UnknownVariant
from app.uploads.reference import MalformedReference
from app.uploads.tickets import BadTicket, BeyondTicket
from app.web.demo import ForeignOrigin
from app.web.demo_runner import ActRunning
from app.web.demo_settings import InvalidDemoSetting
from tests.examples import examples

EMPTY = Quota(limit=10, window_s=5, remaining=0, next_token_ms=440)
SPENT = Quota(limit=10, window_s=5, remaining=9, next_token_ms=440)


@dataclass(frozen=True)
class Expected:
    """What one exception must become."""

    error: Exception
    status: int
    type: str
    guard: str | None = None
    violated: list[str] | None = None
    retry_after: int | None = None
    retry_after_ms: int | None = None
    header: tuple[str, str] | None = None


EXPECTED = [
    Expected(RateLimited(EMPTY), 429, QUOTA_EXCEEDED, "rate", ["ip"], 1, 440),
    Expected(ShareExceeded(2.5, 20), 429, QUOTA_EXCEEDED, "share", ["share"], 3, 2500),
    Expected(QueueFull(61.2, 100), 503, REDUCED_CAPACITY, "queue", ["queue"], 62, 61200),
    Expected(Starting(2.0), 503, REDUCED_CAPACITY, "starting", None, 2, 2000),
    Expected(Draining(20.0), 503, REDUCED_CAPACITY, "draining", None, 20, 20000),
    Expected(BreakerOpen("store", 3.5), 503, REDUCED_CAPACITY, "breaker", None, 4, 3500),
    Expected(NotServing(["draining"]), 503, REDUCED_CAPACITY, None, None, 1, 1000),
    Expected(TooManyStreams(15.0), 503, REDUCED_CAPACITY, "streams", None, 15, 15000),
    Expected(StoreFull("10 bytes of 10 bytes are used"), 507, "/problems/disk", "disk"),
    Expected(EngineFull(9.5), 507, "/problems/disk", "disk", None, 10, 9500),
    Expected(TooLarge(99), 413, "/problems/too-large", header=("Upload-Limit", "max-size=99")),
    Expected(
        UnsupportedType("Not an image."),
        415,
        "/problems/unsupported-media-type",
        header=("Accept", ACCEPT),
    ),
    Expected(
        UnsupportedCoding("gzip"),
        415,
        "/problems/unsupported-coding",
        header=("Accept-Encoding", "identity"),
    ),
    Expected(MalformedForm("No boundary."), 400, "/problems/malformed-multipart"),
    Expected(NoFile("No file."), 400, "/problems/no-file"),
    Expected(UploadTooSlow("Too slow."), 408, "/problems/upload-too-slow"),
    Expected(UnknownVariant("Unknown variant 'x'."), 400, "/problems/unknown-variant"),
    Expected(MalformedKey("A key."), 400, "/problems/bad-request"),
    Expected(KeyInUse("On its way."), 409, "/problems/repeat-too-soon"),
    Expected(KeyMismatch(), 422, "/problems/repeat-differs"),
    Expected(TooManyReplays(5.0), 503, REDUCED_CAPACITY, "repeats", None, 5, 5000),
    Expected(
        Unauthorized(),
        401,
        "/problems/unauthorized",
        header=("WWW-Authenticate", "Bearer"),
    ),
    Expected(Forbidden(), 403, "/problems/forbidden"),
    Expected(
        BadTicket("It has expired."),
        401,
        "/problems/ticket",
        header=("WWW-Authenticate", 'Bearer error="invalid_token"'),
    ),
    Expected(
        BeyondTicket("Too large."),
        403,
        "/problems/beyond-ticket",
        header=("WWW-Authenticate", 'Bearer error="insufficient_scope"'),
    ),
    Expected(NotAcceptable("Neither."), 406, "/problems/not-acceptable", header=("Vary", "Accept")),
    Expected(MalformedReference(), 400, "/problems/bad-request"),
    Expected(NotFound("No such image."), 404, "/problems/not-found"),
    Expected(ForeignOrigin(), 403, "/problems/foreign-origin"),
    Expected(Misdirected(), 421, "/problems/misdirected"),
    Expected(ActRunning("crowd", 8.5), 409, "/problems/act-running", None, None, 9, 8500),
    Expected(InvalidDemoSetting("Rate goes from 1 to 2."), 400, "/problems/bad-request"),
    Expected(PreconditionFailed(), 412, "/problems/precondition-failed"),
    Expected(TooManyParameters(), 400, "/problems/bad-request"),
    Expected(UnderWay(1.2), 409, "/problems/under-way", None, None, 2, 1200),
    Expected(NotReady("thumb", 1.2), 404, "/problems/not-ready", None, None, 2, 1200),
    Expected(
        RangeNotSatisfiable(17),
        416,
        "/problems/range-not-satisfiable",
        header=("Content-Range", "bytes */17"),
    ),
    Expected(HTTPException(404), 404, "/problems/not-found"),
    Expected(
        HTTPException(405),
        405,
        "/problems/method-not-allowed",
        header=("Allow", "POST"),
    ),
    Expected(HTTPException(418, "A teapot."), 400, "/problems/bad-request"),
    Expected(HTTPException(500, "Broken."), 500, "/problems/internal"),
    Expected(
        RequestValidationError([{"loc": ("query", "variants"), "msg": "is odd"}]),
        400,
        "/problems/bad-request",
    ),
    Expected(StoreUnavailable("no answer within 3.0 s"), 503, REDUCED_CAPACITY, "breaker", None, 1, 1000),
    Expected(OSError("Input/output error"), 503, REDUCED_CAPACITY, "breaker", None, 1, 1000),
    Expected(EventNotKept("NATS is away"), 503, REDUCED_CAPACITY, "breaker", None, 1, 1000),
]

NO_REFUSALS = {
    "BadClaims": "becomes a BadTicket",
    "SettingsError": "ends the start with one line",
    "StoreUnusable": "ends the start with one line",
    "AddressTaken": "ends the start with one line",
    "PoolNotStarted": "ends the start with one line",
    "WorkerProcessFailed": "the engine tries the job again, or fails it",
    "JobExists": "the upload gets the 409 of KeyInUse",
    "EngineUnusable": "ends the start with one line",
    "SendFailed": "the delivery of webhooks tries again",
    "EngineDown": "the engine refuses by its breaker",
    "StorageFull": "the engine refuses as EngineFull while a job waits",
    "StreamFull": "the engine refuses by its queue",
    "_RoundGivenUp": "the reconciler tries again later",
    "StatusChanged": "the worker that has lost a job lets go of it",
    "ClientGone": "nobody is there to read an answer",
    "JobGone": "the engine ends the job as cancelled",
    "ObjectChanged": "a StoreUnavailable: a failing store's 503",
    "VariantRejected": "the engine fails the job",
    "HeadRefused": "the connection itself answers it",
    "ProblemError": "only its subclasses are raised",
}
"""Exceptions that are never answered, each with what happens instead."""


def names(expected: Expected) -> str:
    return f"{type(expected.error).__name__}-{expected.status}"


def answer(error: Exception, *, quota: Quota | None = None) -> tuple[httpx.Response, RefusalCounter]:
    """What a client gets from an application in which a request raises `error`."""
    refusals = RefusalCounter()
    service = FastAPI()
    degraded_response = DegradedResponse(PreviewWorker(), always=False)
    ErrorHandlers(refusals, degraded_response, lambda _: SPENT, lambda _, answer: answer).install(service)

    @service.post("/")
    async def endpoint() -> None:
        raise error

    if quota is not None:

        @service.middleware("http")
        async def spend(request: Any, proceed: Any) -> Any:
            request.state.quota = quota
            return await proceed(request)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(service, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://spillway") as client:
            return await client.post("/")

    return asyncio.run(ask()), refusals


@pytest.mark.parametrize("expected", EXPECTED, ids=names)
def test_every_exception_becomes_its_problem(expected: Expected) -> None:
    """Status, type, members and headers are the wire contract's, for each exception that has a row."""
    response, _ = answer(expected.error, quota=SPENT)
    document = response.json()
    assert response.status_code == document["status"] == expected.status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert document["type"] == expected.type
    assert document["title"]
    assert document["detail"]
    assert document["instance"].startswith("urn:uuid:")
    assert uuid.UUID(document["instance"].removeprefix("urn:uuid:"))
    assert document.get("guard") == expected.guard
    assert document.get("violated-policies") == expected.violated
    assert document.get("retry_after_ms") == expected.retry_after_ms
    seconds = None if expected.retry_after is None else str(expected.retry_after)
    assert response.headers.get("Retry-After") == seconds
    if expected.header is not None:
        assert response.headers[expected.header[0]] == expected.header[1]


@pytest.mark.parametrize("expected", [e for e in EXPECTED if e.status in (429, 503)], ids=names)
def test_every_429_and_503_tells_when_to_come_back_and_what_is_left(expected: Expected) -> None:
    """Retry-After, RateLimit-Policy and RateLimit stand on each; the policy that refused is named in both."""
    response, _ = answer(expected.error, quota=SPENT)
    assert int(response.headers["Retry-After"]) >= 1
    policy, left = response.headers["RateLimit-Policy"], response.headers["RateLimit"]
    assert policy.startswith('"ip";q=10;w=5')
    assert left.startswith('"ip";r=')
    for name in expected.violated or []:
        assert f'"{name}";q=' in policy
        assert f'"{name}";r=0;' in left


@pytest.mark.parametrize(
    "error",
    [
        TooManyStreams(15.0),
        NotServing(["draining"]),
        BreakerOpen("store", 3.5),
        OSError("Input/output error"),
    ],
    ids=["streams", "readiness", "breaker", "store"],
)
def test_refusals_that_spend_nothing_tell_the_bucket_all_the_same(error: Exception) -> None:
    """Where no token was taken before the refusal, the bucket is read for its fields."""
    response, _ = answer(error)
    assert response.headers["RateLimit"] == '"ip";r=9;t=1'


def test_the_contract_s_example() -> None:
    """The refusal that the wire contract shows, member by member."""
    response, _ = answer(RateLimited(EMPTY))
    document = response.json()
    del document["title"], document["detail"], document["instance"]
    assert document == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "status": 429,
        "violated-policies": ["ip"],
        "guard": "rate",
        "retry_after_ms": 440,
    }
    assert response.headers["Retry-After"] == "1"
    assert response.headers["RateLimit-Policy"] == '"ip";q=10;w=5'
    assert response.headers["RateLimit"] == '"ip";r=0;t=1'


def test_not_serving_gives_its_reasons() -> None:
    """A balancer's operator sees why, one reason each."""
    response, _ = answer(NotServing(["draining", "the queue has been full for 31 s"]))
    assert response.json()["reasons"] == ["draining", "the queue has been full for 31 s"]


def test_an_unexpected_exception_is_a_problem_too() -> None:
    """A bug is answered with a bare 500 that reveals nothing of its cause, which is logged."""
    with capture_logs() as logs:
        response, _ = answer(ZeroDivisionError("secret path /etc/shadow"))
    assert [(entry["event"], str(entry["exc_info"])) for entry in logs] == [
        ("request failed", "secret path /etc/shadow")
    ]
    assert response.status_code == 500
    assert response.json()["type"] == "/problems/internal"
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


# --- completeness ---------------------------------------------------------------------------------------


def own_exceptions() -> dict[str, type[Exception]]:
    """Every exception class that a module of the service defines."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(app.__path__, prefix="app.")
        if not module.name.startswith("app.stampede")  # a client: what it raises never reaches a request
    ]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.__name__
    }


def test_every_exception_carries_a_problem_or_has_a_row() -> None:
    """An exception of the service is answered with a problem, unless it is known to meet no request."""
    exceptions = own_exceptions()
    answered = {name for name, kind in exceptions.items() if issubclass(kind, ProblemError) or kind in ROWS}
    assert answered - {"ProblemError"} == set(exceptions) - set(NO_REFUSALS)
    assert set(NO_REFUSALS) <= set(exceptions)


def test_every_error_that_carries_a_problem_names_a_kind() -> None:
    """The slug of each is one of the catalogue, and none has a row beside."""
    for kind in own_exceptions().values():
        if issubclass(kind, ProblemError) and kind is not ProblemError:
            assert kind.slug in KINDS
            assert kind not in ROWS


def test_every_answered_exception_is_tried_here() -> None:
    """A new one needs an expectation in this file."""
    carrying = {kind for kind in own_exceptions().values() if issubclass(kind, ProblemError)}
    assert {type(expected.error) for expected in EXPECTED} == set(ROWS) | carrying - {ProblemError}


def test_every_kind_is_explained_and_has_a_status_that_fits() -> None:
    """Each has a title, a meaning and a remedy in sentences; guards have the contract's statuses."""
    statuses = {}
    for slug, kind in KINDS.items():
        assert kind.slug == slug
        assert 400 <= kind.status < 600
        assert kind.title
        assert kind.meaning.endswith(".")
        assert kind.remedy.endswith(".")
        assert FROM_ROOT.problem_type(kind) == {429: QUOTA_EXCEEDED, 503: REDUCED_CAPACITY}.get(
            kind.status, f"/problems/{slug}"
        )
        if kind.guard is not None:
            statuses[kind.guard] = kind.status
    assert statuses == {
        "rate": 429,
        "share": 429,
        "queue": 503,
        "starting": 503,
        "draining": 503,
        "breaker": 503,
        "streams": 503,
        "repeats": 503,
        "disk": 507,
    }


# --- counting -------------------------------------------------------------------------------------------


def test_refusals_are_counted_by_guard_and_by_status_of_the_body() -> None:
    """Each refusal counts once; errors that are no guard's, body's or ticket's count nowhere."""
    before = RefusalCounter().snapshot()
    guards = {"rate", "share", "starting", "draining", "breaker", "queue", "disk", "streams", "repeats"}
    assert set(before) == guards | {"400", "401", "403", "408", "413", "415"}
    assert set(before.values()) == {0}
    for error, key in (
        (RateLimited(EMPTY), "rate"),
        (QueueFull(1, 100), "queue"),
        (TooLarge(1), "413"),
        (BadTicket("Expired."), "401"),
        (BeyondTicket("Too large."), "403"),
        (Unauthorized(), None),
        (NoFile("No file."), "400"),
        (NotFound("No such image."), None),
    ):
        _, refusals = answer(error, quota=SPENT)
        assert {name: n for name, n in refusals.snapshot().items() if n} == ({key: 1} if key else {})


def test_only_uploads_count_as_bodies() -> None:
    """A bad request that was no upload is not counted among the bodies refused."""
    refusals = RefusalCounter()
    refusals.count(KINDS["bad-request"], "GET")
    assert not any(refusals.snapshot().values())
    refusals.count(KINDS["bad-request"], "POST")
    assert refusals.snapshot()["400"] == 1


@pytest.mark.anyio
async def test_a_flood_of_refusals_is_a_line_a_second() -> None:
    """Refusals are logged once a second, as counts by guard; a second without any logs nothing."""
    refusals = RefusalCounter()
    with capture_logs() as logs:
        async with refusals.logging():
            for _ in range(1000):
                refusals.count(KINDS["rate"], "POST")
            await asyncio.sleep(1.5)
            refusals.count(KINDS["rate"], "POST")
            refusals.count(KINDS["queue"], "POST")
            await asyncio.sleep(10)
    assert [(line.get("rate"), line.get("queue")) for line in logs] == [(1000, None), (1, 1)]


# --- Retry-After ----------------------------------------------------------------------------------------


@examples
@given(st.floats(0, 1e6))
def test_retry_after_is_never_before_the_true_time(seconds: float) -> None:
    """Whole seconds, at least one, rounded up (but for a billionth of a second, which is rounding noise)."""
    whole = whole_seconds(seconds)
    assert whole >= max(1, seconds - 1e-9)
    assert whole < max(1, seconds) + 1


@examples
@given(st.integers(0, 10**8))
def test_milliseconds_pass_through_the_problem_unchanged(milliseconds: int) -> None:
    """Between the bucket's integer and the wire's no float adds or drops a millisecond."""
    refusal = RateLimited(Quota(10, 5, 0, milliseconds))
    response = render(Problem(KINDS["rate"], "Empty.", refusal.retry_after, refusal.quota))
    assert json.loads(response.body)["retry_after_ms"] == milliseconds
    assert response.headers["Retry-After"] == str(max(1, math.ceil(milliseconds / 1000)))
