"""The outbox of one machine: a small file or object for each event, in the store."""

import asyncio
import heapq
import time
from collections.abc import Callable, Collection
from contextlib import suppress

import structlog

from app.runtime import tasks
from app.storage.interface import Store
from app.webhooks.delivery import MAX_AT_ONCE, RETRY_DELAYS_S, Again, Delivery
from app.webhooks.events import Event, EventType
from app.webhooks.outbox import MAX_KEPT, Outbox, WebhookSnapshot

log = structlog.get_logger(__name__)

MAX_INDEXED = 20_000
"""Events whose next try is known in memory. The others are in the store alone, and are looked for there when
half of these are gone."""
_STORE_RETRY_S = 1.0
_DRAIN_POLL_S = 0.05


class StoreOutbox(Outbox):
    """Keeps events in the store and delivers them, each at its time, `MAX_AT_ONCE` at once.

    When a try was, and how many there were, is known in memory only: after a restart every event is due.
    """

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        wanted: Collection[EventType],
        clock: Callable[[], float] = time.monotonic,
        max_indexed: int = MAX_INDEXED,
    ) -> None:
        """`clock` gives seconds, for the times between tries."""
        super().__init__(wanted)
        self._store = store
        self._delivery = delivery
        self._clock = clock
        self._max_indexed = max_indexed
        self._kept_at: dict[str, float] = {}
        """The indexed events, oldest first, and when each was kept in seconds since the epoch."""
        self._due: list[tuple[float, str, int]] = []
        """A heap of those that are not being tried: when the next try is due, name, failures."""
        self._ended: set[str] = set()
        """Events that are delivered or given up, and could not be removed from the store yet."""
        self._unindexed = 0
        """How many more there are in the store."""
        self._changed = asyncio.Event()
        self._trying: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    # --- keeping ---------------------------------------------------------------------------------------

    async def _keep(self, event: Event) -> None:
        if self._pending >= MAX_KEPT and event.id not in self._kept_at:
            self._drop(event, f"{MAX_KEPT} are not delivered")
            return
        await self._store.events.keep(event.id, event.to_bytes())
        self._is_dropping = False

    def _expect(self, event: Event) -> None:
        if event.id in self._kept_at:
            return
        if len(self._kept_at) >= self._max_indexed:
            self._unindexed += 1
            return
        self._kept_at[event.id] = event.at
        self._schedule(event.id, Again(0, 0))

    @property
    def _pending(self) -> int:
        return len(self._kept_at) + self._unindexed

    def _schedule(self, name: str, again: Again) -> None:
        heapq.heappush(self._due, (self._clock() + again.delay, name, again.failures))
        self._changed.set()

    # --- delivering ------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._tasks.append(tasks.supervise(self._run, name="webhooks"))

    async def _run(self) -> None:
        """Look through the store, then try each event when it is due, for ever."""
        await self._survey()
        slots = asyncio.Semaphore(MAX_AT_ONCE)
        while True:
            await slots.acquire()
            try:
                name, failures = await self._next()
            except BaseException:
                slots.release()
                raise
            task = asyncio.create_task(self._try(name, failures), name=f"webhook {name}")
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)
            task.add_done_callback(lambda _: slots.release())

    async def _next(self) -> tuple[str, int]:
        """Take the next event that is due, as soon as the breaker lets a request pass."""
        while True:
            if self._unindexed and len(self._kept_at) <= self._max_indexed // 2:
                await self._survey()
            self._changed.clear()
            breaker_s = self._delivery.breaker.remaining()
            due_s = self._due[0][0] - self._clock() if self._due else None
            if due_s is not None and due_s <= 0 and breaker_s <= 0:
                _, name, failures = heapq.heappop(self._due)
                return name, failures
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due_s is None else max(due_s, breaker_s)):
                    await self._changed.wait()

    async def _survey(self) -> None:
        """Find the oldest events that are kept and not indexed."""
        try:
            found, total = await self._store.events.oldest(self._max_indexed)
        except OSError as error:
            log.error("webhooks that wait cannot be listed", reason=str(error))
            await asyncio.sleep(_STORE_RETRY_S)
            self._unindexed = max(1, self._unindexed)  # so that it is tried again
            return
        for kept_at, name in found:
            if name not in self._kept_at and len(self._kept_at) < self._max_indexed:
                self._kept_at[name] = kept_at
                self._schedule(name, Again(0, 0))
        self._kept_at = dict(sorted(self._kept_at.items(), key=lambda item: item[1]))
        self._unindexed = max(0, total - len(self._kept_at))

    async def _try(self, name: str, failures: int) -> None:
        again: Again | None = Again(_STORE_RETRY_S, failures)
        try:
            again = None if name in self._ended else await self._attempt(name, failures)
            if again is None:
                self._ended.add(name)  # so that it is not posted again if it cannot be removed now
                again = Again(_STORE_RETRY_S, failures)
                await self._store.events.forget(name)
                again = None
        except OSError as error:  # an outage of the store is in the log already
            log.debug("a webhook waits for the store", webhook=name, reason=str(error))
            await asyncio.sleep(_STORE_RETRY_S)  # so that no more are tried in vain than there are slots
        except Exception:
            log.exception("a webhook could not be tried", webhook=name)
            again = Again(RETRY_DELAYS_S[1], failures + 1)
        finally:
            if again is None:
                self._ended.discard(name)
                self._kept_at.pop(name, None)
                self._changed.set()
            else:
                self._schedule(name, again)

    async def _attempt(self, name: str, failures: int) -> Again | None:
        """Try to deliver an event; None when it is to be removed. Raises OSError."""
        data = await self._store.events.read(name)
        if data is None:
            return None
        try:
            event = Event.from_bytes(data)
        except ValueError as error:
            log.error("a webhook that waits is damaged and is removed", webhook=name, reason=str(error))
            return None
        return await self._delivery.attempt(event, failures)

    async def drain(self, timeout: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._trying or self._has_due():  # noqa: ASYNC110 - several events, one end
                    await asyncio.sleep(_DRAIN_POLL_S)

    def _has_due(self) -> bool:
        if not self._due or self._delivery.breaker.remaining() > 0:
            return False
        return self._due[0][0] <= self._clock()

    async def stop(self) -> None:
        await tasks.cancel_and_wait(self._tasks)
        await tasks.cancel_and_wait(self._trying)
        await self._delivery.close()

    def snapshot(self) -> WebhookSnapshot:
        oldest = next(iter(self._kept_at.values()), None)
        return self._delivery.snapshot(self._pending, oldest, self._dropped)
