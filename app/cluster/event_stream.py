"""The outbox of a cluster: a message in JetStream for each event, sent by one replica.

Whoever is about to make an event true publishes it before: a worker or a replica. Replicas take the messages
from one durable consumer; that of a replica which died is given to another one. The subject of a message is
the id of its event, so that one which is published twice is kept once.
"""

import asyncio
import secrets
from collections.abc import Collection
from contextlib import suppress

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from app.cluster.connection import PUBLISH_TIMEOUT_S, UNAVAILABLE, NatsConnection, StreamFull
from app.cluster.jetstream import EVENT_SENDERS, EVENTS, SEND_WAIT_S, event_subject
from app.runtime import tasks
from app.storage.interface import EventNotKept
from app.webhooks.delivery import MAX_AT_ONCE, Again, Delivery
from app.webhooks.events import Event, EventType
from app.webhooks.outbox import Outbox, WebhookSnapshot

log = structlog.get_logger(__name__)

_PULL_TIMEOUT_S = 2.0
_RETRY_S = 0.5
_COUNT_INTERVAL_S = 2.0
_STORE_RETRY_S = 10.0
_EARLY_WAIT_S = 0.1
_EARLY_WAITS = 20
"""An event may come before the record that makes it true: so long, and so often, that is waited for. Then the
message goes back, which counts as a failure, because only NATS knows how often it was delivered."""


class EventStream(Outbox):
    """Keeps events in a stream, and delivers those of all processes if it is given a delivery."""

    def __init__(
        self, connection: NatsConnection, wanted: Collection[EventType], delivery: Delivery | None = None
    ) -> None:
        """Without a `delivery`, as in a worker, events are only published."""
        super().__init__(wanted)
        self._connection = connection
        self._delivery = delivery
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._trying: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._pending = 0
        self._oldest_at: float | None = None
        """Both are those of the whole cluster, as of the last look at the stream."""

    async def _keep(self, event: Event) -> None:
        # The removal of a job may fail and be asked for again, when its first event was found not to be true.
        suffix = f".{secrets.token_hex(4)}" if event.type is EventType.DELETED else ""
        headers = {"Nats-Msg-Id": f"{event.id}{suffix}"}
        try:
            async with self._connection.request(PUBLISH_TIMEOUT_S) as js:
                await js.publish(event_subject(event.id), event.to_bytes(), headers=headers)
        except StreamFull as full:
            if not full.subject:
                self._drop(event, "NATS keeps as many as it may")
                return
        except UNAVAILABLE as error:
            raise EventNotKept(f"a webhook cannot be kept: {error}") from None
        self._is_dropping = False

    async def start(self) -> None:
        if self._delivery is not None:
            self._tasks = [
                tasks.supervise(self._run, name="webhooks"),
                tasks.supervise(self._count, name="webhooks count"),
            ]

    async def _run(self) -> None:
        """Take one event after the other, while the breaker lets requests pass, for ever."""
        assert self._delivery is not None  # noqa: S101 - `start` has seen it
        slots = asyncio.Semaphore(MAX_AT_ONCE)
        while True:
            while (open_s := self._delivery.breaker.remaining()) > 0:  # noqa: ASYNC110 - it closes by time
                await asyncio.sleep(open_s)
            await slots.acquire()
            message = None
            try:
                message = await self._next()
            finally:
                if message is None:
                    slots.release()
            if message is None:
                continue
            task = asyncio.create_task(self._try(message, self._delivery), name=f"webhook {message.subject}")
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)
            task.add_done_callback(lambda _: slots.release())

    async def _next(self) -> Msg | None:
        """The message of an event that is due, or None when there was none within seconds."""
        try:
            if self._subscription is None:
                async with self._connection.request() as js:
                    self._subscription = await js.pull_subscribe_bind(durable=EVENT_SENDERS, stream=EVENTS)
            messages = await self._subscription.fetch(1, timeout=_PULL_TIMEOUT_S)
        except TimeoutError:  # there is none
            return None
        except (NatsError, OSError, *UNAVAILABLE) as error:
            log.debug("no webhook from the stream", reason=str(error))
            await asyncio.sleep(_RETRY_S)
            return None
        return messages[0] if messages else None

    async def _try(self, message: Msg, delivery: Delivery) -> None:
        try:
            again = await self._attempt(message, delivery)
        except asyncio.CancelledError:
            with suppress(NatsError, OSError):
                await message.nak()
            raise
        except OSError as error:
            log.debug("a webhook waits for the store", webhook=message.subject, reason=str(error))
            again = Again(_STORE_RETRY_S, 0)
        except Exception:
            log.exception("a webhook could not be tried", webhook=message.subject)
            again = Again(60, 0)
        try:
            if again is None:
                await message.ack()
            else:
                await message.nak(delay=max(0.001, again.delay))
        except (NatsError, OSError) as error:  # NATS delivers the message once more
            log.warning("NATS does not know yet what became of a webhook", reason=str(error))

    async def _attempt(self, message: Msg, delivery: Delivery) -> Again | None:
        try:
            event = Event.from_bytes(message.data)
        except ValueError as error:
            log.error("a webhook that waits is damaged and is removed", reason=str(error))
            return None
        failures = message.metadata.num_delivered - 1
        early_waits = 0
        while True:
            again = await delivery.attempt(event, failures)
            if again is None or again.failures > failures or early_waits == _EARLY_WAITS:
                return again
            if (open_s := delivery.breaker.remaining()) > 0:
                await message.in_progress()
                await asyncio.sleep(min(open_s, SEND_WAIT_S / 3))
            else:
                early_waits += 1
                await asyncio.sleep(_EARLY_WAIT_S)

    async def _count(self) -> None:
        """Look how many events wait, and since when, for ever."""
        while True:
            with suppress(*UNAVAILABLE, StreamFull, NotFoundError, ValueError):
                async with self._connection.request() as js:
                    state = (await js.stream_info(EVENTS)).state
                    self._pending = state.messages
                    self._oldest_at = None
                    if state.messages:
                        first = await js.get_msg(EVENTS, seq=state.first_seq)
                        self._oldest_at = Event.from_bytes(first.data or b"").at
            await asyncio.sleep(_COUNT_INTERVAL_S)

    async def drain(self, timeout: float) -> None:
        """Take no more events, which another replica may send, and finish the requests under way."""
        await self._stop_pulling()
        if self._trying:
            await asyncio.wait(self._trying, timeout=timeout)

    async def _stop_pulling(self) -> None:
        """Take no more events. One that NATS sent in answer to the last pull would lie idle otherwise."""
        await tasks.cancel_and_wait(self._tasks)
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def stop(self) -> None:
        await self._stop_pulling()
        await tasks.cancel_and_wait(self._trying)
        if self._delivery is not None:
            await self._delivery.close()

    def snapshot(self) -> WebhookSnapshot | None:
        if self._delivery is None:
            return None
        return self._delivery.snapshot(self._pending, self._oldest_at, self._dropped)
