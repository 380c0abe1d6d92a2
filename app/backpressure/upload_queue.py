"""The backlog: the loading dock, the entrance and the belt.

An upload first reserves a place in the *dock*, then is read. When its body is complete it moves to the
*belt*, a bounded asyncio.Queue from which the workers take, round robin over clients. Should the belt be
full by then, it waits at the *entrance*, already safe on disk, ahead of every newcomer. So nobody is ever
read in full only to be refused, and a slow uplink holds a place in the dock, never one on the belt.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from app.backpressure.drain_rate import DrainRate
from app.backpressure.fair_queue import E, FairQueue

_SEEN_S = 0.5
"""Seconds after which the pace of an upload is known."""
_SOON = 0.5
"""An upload counts as soon there when it ends within this share of the time that a full queue takes."""


class ShareExceeded(Exception):
    """Raised when one client has its full share of the dock and the queue."""

    def __init__(self, retry_after: float, share: int) -> None:
        super().__init__(f"this client has {share} uploads in work already")
        self.retry_after = retry_after
        self.share = share


@dataclass(frozen=True, slots=True)
class UploadQueueSnapshot:
    """The state of the backlog; `waiting` counts the belt and the entrance, waits are in ms."""

    capacity: int
    dock: int
    receiving: int
    waiting: int
    drain_per_s: float
    estimated_wait_ms: int


class ReceivingSlot(Generic[E]):
    """A place in the dock, held by one upload until it is offered or released."""

    __slots__ = ("_held", "_upload_queue", "client", "expected_soon", "known_soon", "since")

    def __init__(self, upload_queue: "UploadQueue[E]", client: str, since: float) -> None:
        self._upload_queue = upload_queue
        self._held = True
        self.client = client
        self.since = since
        self.expected_soon = True
        """Whether the upload is taken to be soon there."""
        self.known_soon = False
        """Whether it is, for its pace is known."""

    def progress(self, share: float) -> None:
        """Tell how much of the upload has come, from 0 to 1, so that a slow one keeps nobody out."""
        if self._held:
            self._upload_queue._update_progress(self, share)

    def enqueue(self, entry: E) -> None:
        """Hand the finished upload over to the queue. Never waits and never refuses."""
        if not self._held:
            raise RuntimeError("the slot was given back already")
        self._held = False
        self._upload_queue._enqueue(self, entry)

    def release(self) -> None:
        """Give the place back; harmless after `offer` and when called again."""
        if self._held:
            self._held = False
            self._upload_queue._free_slot(self)


class _FairAsyncQueue(asyncio.Queue[E]):
    """An asyncio.Queue that hands out round robin over clients, by the hooks of its kind."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self._queue = self.rota = FairQueue[E]()

    def _put(self, item: E) -> None:
        self.rota.append(item)

    def _get(self) -> E:
        return self.rota.popleft()


class UploadQueue(Generic[E]):
    """Places for uploads on their way in and for jobs that wait, all bounded."""

    def __init__(
        self,
        capacity: int,
        dock: int,
        share: int,
        drain_rate: DrainRate,
        *,
        max_wait: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`capacity` jobs on the belt, `dock` uploads, `share` of both for one client, `max_wait` seconds."""
        self.capacity = capacity
        self.max_capacity = capacity
        """What the capacity can be set to, for it is what the queue was made for."""
        self.max_receiving = dock
        self.client_share = share
        self.drain_rate = drain_rate
        self.max_wait = max_wait
        self._clock = clock
        self._queue: _FairAsyncQueue[E] = _FairAsyncQueue(maxsize=capacity)
        self._overflow = FairQueue[E]()
        self._receiving = 0
        self._expected_soon = 0
        self._known_soon = 0
        self._client_counts: Counter[str] = Counter()
        self._full_since: float | None = None
        self.on_free_slot: Callable[[], None] = lambda: None
        """Called whenever a place may have come free."""

    @property
    def waiting(self) -> int:
        """Jobs on the belt and at the entrance."""
        return self._queue.qsize() + len(self._overflow)

    @property
    def receiving_full(self) -> bool:
        """Whether every place for an upload on its way in is taken."""
        return self._receiving >= self.max_receiving

    @property
    def full_for(self) -> float:
        """Seconds for which the belt has been full without a break."""
        return 0.0 if self._full_since is None else self._clock() - self._full_since

    @property
    def load(self) -> int:
        """Jobs that wait, and uploads that are soon to."""
        return self.waiting + self._expected_soon

    @property
    def free_slots(self) -> int:
        """Places for uploads whose jobs are to find room on the belt; below 0 by as many as come too much."""
        return min(self._max_waiting - self.load, self.max_receiving - self._receiving)

    @property
    def unreserved_slots(self) -> int:
        """Places for uploads while nobody is promised any: the dock is bound by itself then.

        But no burst in it shall wait longer than `max_wait`: what is known to come from it soon counts there.
        """
        ahead = self.waiting + self._known_soon
        return min(
            self.capacity - self.waiting,
            self._max_waiting_for_latency - ahead,
            self.max_receiving - self._receiving,
        )

    @property
    def _max_waiting(self) -> int:
        """How many jobs may wait, for the belt's sake and for `max_wait`'s."""
        return min(self.capacity, self._max_waiting_for_latency)

    @property
    def _max_waiting_for_latency(self) -> int:
        """How many jobs may wait for `max_wait`'s sake."""
        return int(min(self.max_wait * self.drain_rate.jobs_per_s + 1, self.capacity + self.max_receiving))

    def resize(self, capacity: int) -> None:
        """Let so many jobs wait, 1 to `most`, from now on; those who wait already stay.

        Raises:
            ValueError: the queue was not made for so many.
        """
        if not 1 <= capacity <= self.max_capacity:
            raise ValueError(f"a queue made for {self.max_capacity} jobs cannot hold {capacity}")
        self.capacity = capacity
        self._advance()

    def check_share(self, client: str) -> None:
        """Raises ShareExceeded: the client has as much in work as one client may."""
        if self._client_counts[client] >= self.client_share:
            raise ShareExceeded(self.drain_rate.wait(self._first_of(client) + 1), self.client_share)

    def count_client(self, client: str) -> None:
        """Count an upload in its client's share; whether there is room for it is the caller's to ask."""
        self._client_counts[client] += 1

    def uncount_client(self, client: str) -> None:
        """Take back what `hold` counted."""
        self._client_counts[client] -= 1
        if self._client_counts[client] <= 0:
            del self._client_counts[client]

    def reserve(self, client: str) -> ReceivingSlot[E]:
        """Turn a hold into a place in the dock, which drops it in the end."""
        self._receiving += 1
        self._expected_soon += 1
        return ReceivingSlot(self, client, self._clock())

    def restore(self, entry: E) -> None:
        """Put an accepted job from before a restart at the entrance, ahead of every newcomer."""
        self._client_counts[entry.client] += 1
        self._overflow.append(entry)
        self._advance()

    async def take(self) -> E:
        """The next job, as soon as there is one. Cancelling loses nothing."""
        return self._taken(await self._queue.get())

    def take_nowait(self) -> E | None:
        """The next job, or None when no job waits."""
        if self._queue.empty():
            return None
        return self._taken(self._queue.get_nowait())

    def _taken(self, entry: E) -> E:
        self.uncount_client(entry.client)
        self._advance()
        return entry

    def remove(self, entry: E) -> bool:
        """Take a waiting job out; False when it is not waiting."""
        try:
            self._overflow.remove(entry)
        except ValueError:
            try:
                self._queue.rota.remove(entry)
            except ValueError:
                return False
        self.uncount_client(entry.client)
        self._advance()
        return True

    def position(self, entry: E) -> int | None:
        """Place in the queue, 1 for the next to be taken; None when it is not waiting."""
        try:
            return self._queue.rota.index(entry) + 1
        except ValueError:
            try:
                return self._queue.qsize() + self._overflow.index(entry) + 1
            except ValueError:
                return None

    def snapshot(self) -> UploadQueueSnapshot:
        """The state now."""
        waiting = self.waiting
        return UploadQueueSnapshot(
            self.capacity,
            self.max_receiving,
            self._receiving,
            waiting,
            round(self.drain_rate.jobs_per_s, 3),
            round(self.drain_rate.wait(waiting) * 1000),
        )

    def _enqueue(self, slot: ReceivingSlot[E], entry: E) -> None:
        self._receiving -= 1
        self._expected_soon -= slot.expected_soon
        self._known_soon -= slot.known_soon
        self.drain_rate.record_upload(self._clock() - slot.since)
        self._overflow.append(entry)
        self._advance()

    def _free_slot(self, slot: ReceivingSlot[E]) -> None:
        self._receiving -= 1
        self._expected_soon -= slot.expected_soon
        self._known_soon -= slot.known_soon
        self.uncount_client(slot.client)
        self.on_free_slot()

    def _update_progress(self, slot: ReceivingSlot[E], share: float) -> None:
        """Reckon with an upload at once, and when its pace is known only while it will soon be there."""
        elapsed = self._clock() - slot.since
        if elapsed < _SEEN_S:
            return
        soon = elapsed * (1 - share) <= _SOON * self.capacity / self.drain_rate.jobs_per_s * share
        self._expected_soon += soon - slot.expected_soon
        self._known_soon += soon - slot.known_soon
        slowed, slot.expected_soon, slot.known_soon = slot.expected_soon and not soon, soon, soon
        if slowed:
            self.on_free_slot()

    def _advance(self) -> None:
        """Let the entrance onto the belt while there is room."""
        while self._overflow and self._queue.qsize() < self.capacity:
            self._queue.put_nowait(self._overflow.popleft())
        if self._queue.qsize() < self.capacity:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = self._clock()
        self.on_free_slot()

    def _first_of(self, client: str) -> int:
        """How many jobs are ahead of the client's first; all of them when it only has uploads."""
        first = self._queue.rota.first_of(client)
        if first is not None:
            return first
        first = self._overflow.first_of(client)
        return self.waiting if first is None else self._queue.qsize() + first
