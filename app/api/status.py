"""The endpoints for quota, statistics, health, readiness and metrics. None of them costs a token."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.api import openapi
from app.api.history import History
from app.api.metrics import Metrics
from app.api.refusal_counter import RefusalCounter
from app.api.service_stats import ServiceStats
from app.api.stats_feed import StatsFeed
from app.engine.interface import Engine, EngineState
from app.runtime.memory import resident_bytes
from app.runtime.metrics import CONTENT_TYPE
from app.server.headers import ratelimit_fields
from app.server.problems import ProblemError
from app.server.routes import UnparsedRoute
from app.storage.interface import Store
from app.uploads.admission import Admission
from app.uploads.client_key import client_of
from app.uploads.degraded import DegradedResponse
from app.uploads.idempotency import IdempotencyKeys

_MAX_FULL_S = 30.0
"""Seconds for which the queue may be full before a load balancer should send traffic elsewhere."""
_NO_STORE = {"Cache-Control": "no-store"}

router = APIRouter(tags=["status"], route_class=UnparsedRoute)
operations_router = APIRouter(tags=["status"], route_class=UnparsedRoute)
"""Of these endpoints those that tell of all clients together."""


class NotServing(ProblemError):
    """Raised when the service is up but should get no traffic."""

    slug = "not-serving"

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(f"Not ready: {', '.join(reasons)}.", retry_after=1.0, members={"reasons": reasons})


@dataclass(slots=True)
class Status:
    """Gathers the state of all parts of the service.

    `worker_pids` are the processes whose memory counts beside this one's; `demo` is the state of the
    demonstration as JSON.
    """

    engine: Engine
    store: Store
    refusals: RefusalCounter
    degraded_response: DegradedResponse
    idempotency_keys: IdempotencyKeys
    worker_pids: Callable[[], list[int]]
    demo: Callable[[], dict[str, Any]] | None = None
    _started_at: float = field(default_factory=time.monotonic)
    _history: History = field(default_factory=History)

    def snapshot(self) -> ServiceStats:
        """The state now."""
        return ServiceStats(
            uptime_s=round(time.monotonic() - self._started_at, 1),
            engine=self.engine.snapshot(),
            refusals=self.refusals.snapshot(),
            degraded=self.degraded_response.snapshot(),
            idempotency=self.idempotency_keys.snapshot(),
            memory_bytes=resident_bytes([os.getpid(), *self.worker_pids()]),
            store=self.store.snapshot(),
            demo=None if self.demo is None else self.demo(),
        )

    def document(self) -> dict[str, Any]:
        """The document of `/v1/stats`."""
        return self.snapshot().document(self._history.snapshot())

    def record_second(self) -> dict[str, Any]:
        """Add the state now to the history, and return the document; to be called once a second."""
        stats = self.snapshot()
        self._history.add(stats)
        return stats.document(self._history.snapshot())

    def readiness(self) -> tuple[list[str], dict[str, str]]:
        """The reasons not to send traffic here, if any, and the layers of the sandbox that are in force."""
        engine = self.engine.snapshot()
        reasons: list[str] = [] if engine.state == EngineState.READY else [engine.state]
        reasons += [f"the {each.name} breaker is open" for each in engine.breakers if each.remaining_s > 0]
        if engine.full_for_s >= _MAX_FULL_S:
            reasons.append(f"the queue has been full for {engine.full_for_s:.0f} s")
        return reasons, engine.sandbox


def _status(request: Request) -> Status:
    status: Status = request.app.state.status
    return status


@router.get("/v1/quota", responses=openapi.QUOTA)
async def get_quota(request: Request) -> Response:
    """The caller's own bucket, or that of its ticket, read without spending."""
    admission: Admission = request.app.state.admission
    left = await admission.remaining_quota(request.scope)
    document = {"policy": left.policy, **asdict(left)}
    return JSONResponse(document, headers=_NO_STORE | dict(ratelimit_fields(left)))


@operations_router.get("/v1/stats", responses=openapi.STATS)
async def get_stats(request: Request) -> Response:
    """The whole state as one snapshot."""
    return JSONResponse(_status(request).document(), headers=_NO_STORE)


@operations_router.get("/v1/stats/stream", responses=openapi.STATS_STREAM)
async def stream_stats(request: Request) -> Response:
    """The snapshot once a second, as server-sent events named `stats`."""
    feed: StatsFeed = request.app.state.stats_feed
    return feed.stream(client_of(request))


@router.get("/healthz", responses=openapi.HEALTH)
async def check_health() -> Response:
    """Whether the process answers."""
    return JSONResponse({"alive": True}, headers=_NO_STORE)


@router.get("/readyz", responses=openapi.READINESS)
async def check_readiness(request: Request) -> Response:
    """Whether to send traffic here."""
    reasons, sandbox = _status(request).readiness()
    if reasons:
        raise NotServing(reasons)
    return JSONResponse({"ready": True, "sandbox": sandbox}, headers=_NO_STORE)


@operations_router.get("/metrics", responses=openapi.METRICS)
async def get_metrics(request: Request) -> Response:
    """Prometheus metrics."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), headers=_NO_STORE | {"Content-Type": CONTENT_TYPE})
