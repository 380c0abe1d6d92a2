"""The delivery of one event: whether it is still true, whether to try now, and what the answer means."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol

import structlog

from app.backpressure.circuit_breaker import BreakerOpen, BreakerState, CircuitBreaker
from app.job import Job
from app.runtime import tracing
from app.storage.interface import Store
from app.webhooks.events import Event, EventType, Standing
from app.webhooks.outbox import WebhookSnapshot

log = structlog.get_logger(__name__)

MAX_AT_ONCE = 8
"""Requests under way at the same time."""
RETRY_DELAYS_S = (5.0, 60.0, 300.0, 1800.0, 7200.0, 21_600.0)
"""Seconds from a failed try to the next one: after the first failure, the second, …; the last one is for all
that follow."""
_MIN_RETRY_AFTER_S, _MAX_RETRY_AFTER_S = 1.0, RETRY_DELAYS_S[-1]
_RECHECK_S = 0.5
"""Seconds until the store is asked again whether an event is true."""
_MAX_REMOVAL_AGE_S = 30 * 86_400.0


class SendFailed(Exception):
    """Raised when a request got no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of an answer, and the seconds of its Retry-After."""

    status: int
    retry_after: float | None = None


class Sender(Protocol):
    """Posts events."""

    async def post(self, event_id: str, body: str) -> Answer:
        """Post a JSON document once. Raises SendFailed."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class Again:
    """An event is to be tried again in `delay` seconds, after so many `failures`."""

    delay: float
    failures: int


class Delivery:
    """Tries to deliver events, any number at once, and counts how that went."""

    def __init__(
        self,
        store: Store,
        sender: Sender,
        breaker: CircuitBreaker,
        document: Callable[[Job], dict[str, Any]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`document` makes the document of a job; `clock` gives seconds since the epoch.

        The event of a removal is given up when its image would have been kept no longer, or after 30 days.
        """
        self.breaker = breaker
        self.delivered = self.failed_tries = self.given_up = 0
        self._store = store
        self._sender = sender
        self._document = document
        self._clock = clock
        self._max_removal_age_s = min(store.retention, _MAX_REMOVAL_AGE_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()

    def snapshot(self, pending: int, oldest_at: float | None, dropped: int) -> WebhookSnapshot:
        """The present state, with what the outbox knows; `oldest_at` is when its oldest event happened."""
        return WebhookSnapshot(
            pending=pending,
            oldest_age_s=0.0 if oldest_at is None else round(max(0.0, self._clock() - oldest_at), 1),
            delivered=self.delivered,
            failed_tries=self.failed_tries,
            given_up=self.given_up,
            dropped=dropped,
            breaker=self.breaker.snapshot(),
        )

    async def attempt(self, event: Event, failures: int = 0) -> Again | None:
        """Try to deliver an event that has had so many `failures`; None when nothing is left to be done.

        Raises:
            OSError: the store does not say now whether the event is true.
        """
        record = await self._store.load(event.job_id)
        match event.standing(record, self._clock()):
            case Standing.NOT_YET:
                return Again(_RECHECK_S, failures)
            case Standing.OVER:
                self._give_up(event, "the image is gone")
                return None
            case Standing.TRUE:
                pass
        if event.type.is_removal and self._clock() - event.at > self._max_removal_age_s:
            self._give_up(event, "it is too old")
            return None
        return await self._send(event, record, failures)

    async def _send(self, event: Event, record: Job | None, failures: int) -> Again | None:
        job = event.removed or record
        assert job is not None  # noqa: S101 - only a removal is true without a record
        try:
            permit = self.breaker.acquire()
        except BreakerOpen as refusal:
            return Again(refusal.retry_after, failures)
        with tracing.span(f"webhook {event.type}", job.trace, tracing.SpanKind.CLIENT, job=job.id) as span:
            try:
                answer = await self._sender.post(event.id, self._body(event, job))
                reason = f"the receiver answered {answer.status}"
            except SendFailed as error:
                answer, reason = Answer(0), str(error)
                span.fail(reason)
            except BaseException:  # the process ends
                self.breaker.ignore(permit)
                raise
            span.set("http.response.status_code", answer.status)
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            self.breaker.record_success(permit)
            self.delivered += 1
            return None
        self.failed_tries += 1
        if answer.status == HTTPStatus.GONE:  # the receiver works, and does not want this one
            self.breaker.record_success(permit)
            self._give_up(event, reason)
            return None
        if not failures and self.breaker.snapshot().state is BreakerState.CLOSED:  # else the outage is logged
            log.warning("a webhook was not delivered", webhook=event.type, job=event.job_id, reason=reason)
        self.breaker.record_failure(permit, reason)
        delay = RETRY_DELAYS_S[min(failures, len(RETRY_DELAYS_S) - 1)]
        if answer.retry_after is not None:
            delay = min(_MAX_RETRY_AFTER_S, max(_MIN_RETRY_AFTER_S, answer.retry_after))
        return Again(delay, failures + 1)

    def _body(self, event: Event, job: Job) -> str:
        """The payload of Standard Webhooks."""
        at = event.at
        if event.type in (EventType.DONE, EventType.FAILED):
            at = job.finished_at or at
        elif event.type is EventType.COMPLETED:
            at = job.completed_at or at
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        payload = {"type": event.type, "timestamp": moment, "data": self._document(job)}
        return json.dumps(payload, separators=(",", ":"))

    def _give_up(self, event: Event, reason: str) -> None:
        self.given_up += 1
        log.warning("a webhook is given up", webhook=event.type, job=event.job_id, reason=reason)
