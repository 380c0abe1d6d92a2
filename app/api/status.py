"""What the service tells of itself: quota, stats, metrics, health. All of it is read from snapshots."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.api import openapi
from app.api.history import History
from app.api.metrics import Metrics
from app.api.stats_feed import StatsFeed
from app.engine.interface import Engine
from app.runtime.metrics import CONTENT_TYPE
from app.server.headers import ratelimit_fields
from app.server.problems import ProblemError
from app.storage.interface import Store
from app.uploads.admission import Admission
from app.uploads.degraded import DegradedSnapshot
from app.uploads.idempotency import IdempotencySnapshot

_PAGE = os.sysconf("SC_PAGE_SIZE")
_FULL_TOO_LONG = 30.0
"""Seconds of a full queue after which a balancer should look elsewhere."""


def resident_bytes(pids: list[int]) -> int:
    """Resident memory of some processes, pages they share counted once each; gone ones count nothing."""
    total = 0
    for pid in pids:
        try:
            _, resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[:3])
        except OSError:
            continue
        total += resident if total == 0 else resident - shared
    return total * _PAGE


class NotServing(ProblemError):
    """Raised when the service is up but should get no traffic."""

    slug = "not-serving"

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(f"Not ready: {', '.join(reasons)}.", retry_after=1.0, members={"reasons": reasons})


@dataclass(slots=True)
class Status:
    """Builds the one snapshot that dashboard, health and metrics read."""

    engine: Engine
    store: Store
    refusals: Callable[[], dict[str, int]]
    degraded_response: Callable[[], DegradedSnapshot]
    idempotency_keys: Callable[[], IdempotencySnapshot]
    worker_pids: Callable[[], list[int]]
    demo: Callable[[], dict[str, Any]] | None = None
    started_at: float = field(default_factory=time.monotonic)
    minute: History = field(default_factory=History)

    def beat(self) -> dict[str, Any]:
        """The whole state, to be called once a second: it is what the last minute is made of."""
        state = self._state()
        self.minute.enter(state)
        return state | {"minute": self.minute.snapshot()}

    def stats(self) -> dict[str, Any]:
        """The whole state; no client address and no image id in it."""
        return self._state() | {"minute": self.minute.snapshot()}

    def _state(self) -> dict[str, Any]:
        engine = self.engine.snapshot()
        degraded_response = self.degraded_response()
        return {
            "uptime_s": round(time.monotonic() - self.started_at, 1),
            "state": engine.state,
            "jobs": {**asdict(engine.jobs), "degraded": degraded_response.degraded},
            "refusals": self.refusals(),
            "limiter": asdict(engine.limiter),
            "backlog": {
                "capacity": engine.upload_queue.capacity,
                "dock": engine.upload_queue.max_receiving,
                "receiving": engine.upload_queue.receiving,
                "waiting": engine.upload_queue.waiting,
                "drain_per_s": engine.upload_queue.drain_per_s,
                "estimated_wait_ms": engine.upload_queue.estimated_wait_ms,
                "outstanding": engine.reservations.outstanding,
                "awaited": engine.reservations.awaited,
                "parked": engine.reservations.waiting,
                "returning": engine.reservations.return_rate,
            },
            "workers": [asdict(worker) for worker in engine.workers],
            "previews": {**asdict(degraded_response.previews), "reading": degraded_response.reading},
            "repeats": asdict(self.idempotency_keys()),
            "brownout": asdict(engine.brownout),
            "breakers": {breaker.name: breaker.state for breaker in engine.breakers},
            "memory_bytes": resident_bytes([os.getpid(), *self.worker_pids()]),
            "store_bytes": self.store.snapshot().used_bytes,
            **({} if self.demo is None else {"demo": self.demo()}),
        }

    def readiness(self) -> tuple[list[str], dict[str, str]]:
        """Why not to send traffic here, if anything; and which layers of the sandbox are in force."""
        engine = self.engine.snapshot()
        reasons: list[str] = [] if engine.state == "ready" else [engine.state]
        reasons += [f"the {each.name} breaker is open" for each in engine.breakers if each.remaining_s > 0]
        if engine.full_for_s >= _FULL_TOO_LONG:
            reasons.append(f"the queue has been full for {engine.full_for_s:.0f} s")
        return reasons, engine.sandbox


def status_router(status: Status, admission: Admission, feed: StatsFeed, metrics: Metrics) -> APIRouter:
    """The routes that read and never spend."""
    router = APIRouter(tags=["status"])

    @router.get("/v1/quota", responses=openapi.QUOTA)
    async def quota(request: Request) -> Response:
        """The caller's own bucket, read without spending."""
        left = await status.engine.remaining_quota(admission.client(request.scope))
        document = {"policy": "ip", **asdict(left)}
        return JSONResponse(document, headers={"Cache-Control": "no-store", **dict(ratelimit_fields(left))})

    @router.get("/v1/stats", responses=openapi.STATS)
    async def stats() -> Response:
        """The whole state as one snapshot."""
        return JSONResponse(status.stats(), headers={"Cache-Control": "no-store"})

    @router.get("/v1/stats/stream", responses=openapi.STATS_STREAM)
    async def stream(request: Request) -> Response:
        """The snapshot once a second, as server-sent events named `stats`."""
        return feed.stream(admission.client(request.scope))

    @router.get("/healthz", responses=openapi.HEALTH)
    async def healthz() -> Response:
        """Whether the process answers."""
        return JSONResponse({"alive": True}, headers={"Cache-Control": "no-store"})

    @router.get("/readyz", responses=openapi.READINESS)
    async def readyz() -> Response:
        """Whether to send traffic here."""
        reasons, sandbox = status.readiness()
        if reasons:
            raise NotServing(reasons)
        return JSONResponse({"ready": True, "sandbox": sandbox}, headers={"Cache-Control": "no-store"})

    @router.get("/metrics", responses=openapi.METRICS)
    async def exposition() -> Response:
        """Prometheus metrics."""
        return Response(metrics.text(), headers={"Cache-Control": "no-store", "Content-Type": CONTENT_TYPE})

    return router
