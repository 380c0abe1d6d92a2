"""The state of the whole service at one moment, and its JSON form."""

from dataclasses import dataclass
from typing import Any

from app.backpressure.circuit_breaker import BreakerSnapshot
from app.engine.interface import EngineSnapshot
from app.storage.interface import StoreSnapshot
from app.uploads.degraded import DegradedSnapshot
from app.uploads.idempotency import IdempotencySnapshot
from app.webhooks.outbox import WebhookSnapshot


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """What `/v1/stats`, `/metrics` and the charts of the page are made from.

    `refusals` are counters by guard or status. `demo` is the state of the demonstration as JSON, or None when
    there is no demonstration. Nothing here contains a client address or an image id.
    """

    uptime_s: float
    engine: EngineSnapshot
    refusals: dict[str, int]
    degraded: DegradedSnapshot
    idempotency: IdempotencySnapshot
    memory_bytes: int
    store: StoreSnapshot
    demo: dict[str, Any] | None

    @property
    def jobs(self) -> dict[str, int]:
        """How many uploads were accepted or answered with a preview, and how their jobs ended."""
        jobs = self.engine.jobs
        return {
            "accepted": jobs.accepted,
            "done": jobs.done,
            "failed": jobs.failed,
            "cancelled": jobs.cancelled,
            "deferred": jobs.deferred,
            "provisional": jobs.provisional,
            "degraded": self.degraded.degraded,
        }

    def document(self, minute: dict[str, list[int]]) -> dict[str, Any]:
        """The JSON document of `/v1/stats`; `minute` is the history of the last minute."""
        engine = self.engine
        document: dict[str, Any] = {
            "uptime_s": self.uptime_s,
            "state": engine.state,
            "jobs": self.jobs,
            "accepted_bytes": engine.jobs.accepted_bytes,
            "refusals": self.refusals,
            "limiter": {
                "clients": engine.limiter.clients,
                "capacity": engine.limiter.capacity,
                "overflowing": engine.limiter.overflowing,
            },
            "backlog": _backlog(engine),
            "workers": [
                {
                    "state": worker.state,
                    "busy_ms": worker.busy_ms,
                    "jobs": worker.jobs,
                    "restarts": worker.restarts,
                }
                for worker in engine.workers
            ],
            "previews": {
                "ready": self.degraded.previews.ready,
                "made": self.degraded.previews.made,
                "restarts": self.degraded.previews.restarts,
                "reading": self.degraded.reading,
            },
            "repeats": {
                "arriving": self.idempotency.arriving,
                "reading": self.idempotency.reading,
                "capacity": self.idempotency.capacity,
            },
            "brownout": {
                "active": engine.brownout.active,
                "begun": engine.brownout.begun,
                "deferred": engine.brownout.deferred,
                "capacity": engine.brownout.capacity,
            },
            "breakers": {breaker.name: breaker.state for breaker in all_breakers(engine)},
            "webhook": None if engine.webhook is None else _webhook(engine.webhook),
            "memory_bytes": self.memory_bytes,
            "store_bytes": self.store.used_bytes,
            "minute": minute,
        }
        if self.demo is not None:
            document["demo"] = self.demo
        return document


def all_breakers(engine: EngineSnapshot) -> list[BreakerSnapshot]:
    """Every circuit breaker; that of the webhooks is the only one that refuses no upload."""
    return engine.breakers if engine.webhook is None else [*engine.breakers, engine.webhook.breaker]


def _webhook(webhook: WebhookSnapshot) -> dict[str, Any]:
    return {
        "pending": webhook.pending,
        "oldest_age_s": webhook.oldest_age_s,
        "delivered": webhook.delivered,
        "failed_tries": webhook.failed_tries,
        "given_up": webhook.given_up,
        "dropped": webhook.dropped,
    }


def _backlog(engine: EngineSnapshot) -> dict[str, Any]:
    """The receiving slots, the queue and the reservations; the names of the members are older than ours."""
    queue, reservations = engine.upload_queue, engine.reservations
    return {
        "capacity": queue.capacity,
        "dock": queue.max_receiving,
        "receiving": queue.receiving,
        "waiting": queue.waiting,
        "overflow": queue.overflow,
        "drain_per_s": queue.drain_per_s,
        "estimated_wait_ms": queue.estimated_wait_ms,
        "outstanding": reservations.outstanding,
        "awaited": reservations.awaited,
        "parked": reservations.waiting,
        "returning": reservations.return_rate,
        "due": reservations.due,
    }
