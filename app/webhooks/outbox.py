"""The outbox: keeps events from before they are true until they are delivered."""

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import structlog

from app.backpressure.circuit_breaker import BreakerSnapshot
from app.job import Job
from app.settings import Settings
from app.storage.interface import StoreFull
from app.webhooks.events import Event, EventType, removal

log = structlog.get_logger(__name__)

MAX_KEPT = 250_000
"""Undelivered events that an outbox keeps. Beyond it new ones are dropped, and the log says so."""


@dataclass(frozen=True, slots=True)
class WebhookSnapshot:
    """The webhooks at one moment.

    `pending` events are kept and not delivered, the oldest for `oldest_age_s` seconds. Since the start
    `delivered` were; `failed_tries` counts requests without success; `given_up` events ended otherwise, by a
    `410` or because their image is gone; `dropped` ones were never kept, because there were too many.
    """

    pending: int
    oldest_age_s: float
    delivered: int
    failed_tries: int
    given_up: int
    dropped: int
    breaker: BreakerSnapshot


def wanted_events(settings: Settings) -> frozenset[EventType]:
    """The events that are posted with these settings."""
    return frozenset(map(EventType, settings.webhook_events)) if settings.webhook_url else frozenset()


class Outbox:
    """An outbox that keeps the events of the types that are wanted. This one wants none and delivers none.

    A subclass says where events are kept and who delivers them.
    """

    def __init__(self, wanted: Collection[EventType] = ()) -> None:
        self._wanted = frozenset(wanted)
        self._dropped = 0
        self._is_dropping = False

    @asynccontextmanager
    async def announcing(self, events: Sequence[Event]) -> AsyncIterator[None]:
        """Keep events, durably, and then run the block that makes them true.

        After a crash at any moment an event that is true is kept. One that is kept need not be true, because
        the block may have failed, so the store is asked before it is delivered. Where the disk is full, the
        event of a removal is kept as soon as the block has made room.

        Raises:
            EventNotKept, OSError: the events cannot be kept, and the block was not run.
        """
        wanted = [event for event in events if event.type in self._wanted]
        late = []
        for event in wanted:
            try:
                await self._keep(event)
            except StoreFull:
                if not event.type.is_removal:
                    raise
                late.append(event)
        try:
            yield
        finally:
            for event in wanted:
                if event not in late:
                    self._expect(event)
        for event in late:
            try:
                await self._keep(event)
            except OSError as error:
                self._drop(event, str(error))
            else:
                self._expect(event)

    def announcing_expiry(self, job: Job) -> AbstractAsyncContextManager[None]:
        """Around the removal of a job whose retention is over. Raises as `announcing` does."""
        return self.announcing([removal(EventType.EXPIRED, job, time.time())])

    async def _keep(self, event: Event) -> None:
        """Make an event durable. Raises EventNotKept, OSError."""
        raise NotImplementedError

    def _expect(self, event: Event) -> None:
        """Deliver an event that is kept, which is probably true by now."""

    def _drop(self, event: Event, reason: str) -> None:
        """Count an event that is not kept; the first one in a row is logged."""
        self._dropped += 1
        if not self._is_dropping:
            log.error("webhooks are lost", webhook=event.type, job=event.job_id, reason=reason)
        self._is_dropping = True

    async def start(self) -> None:
        """Begin to deliver, with what an earlier run has left."""

    async def drain(self, timeout: float) -> None:
        """Return when nothing is left that can be delivered now, or after `timeout` seconds."""

    async def stop(self) -> None:
        """End at once; what is not delivered stays where it is kept."""

    def snapshot(self) -> WebhookSnapshot | None:
        """The present state; None where no webhooks are delivered by this process."""
        return None
