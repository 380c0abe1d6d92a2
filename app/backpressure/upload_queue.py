"""The upload queue: receiving slots for uploads on their way in, and a bounded queue of jobs that wait.

An upload first takes a *receiving slot*, and only then is its body read. When the body is complete the upload
has become a job and moves into the *queue*, an asyncio.Queue of bounded size from which the workers take,
round robin over clients. It is a conveyor belt: what is still being unpacked stands beside it, not on it.

If the queue has filled in the meantime, the job goes to the *overflow*, ahead of every upload that is not
complete. So no upload is read to its end and then refused, and a slow uplink occupies a receiving slot, never
a place in the queue. The overflow is bounded too, by the number of those slots.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic

from app.backpressure.drain_rate import DrainRate
from app.backpressure.fair_queue import E, FairAsyncQueue, FairQueue

_MIN_OBSERVED_S = 0.5
"""Seconds for which an upload is observed before its speed is taken as known."""
_MAX_SOON_SHARE = 0.5
"""An upload ends *soon* when it does within this share of the time in which a full queue drains."""


class Arrival(StrEnum):
    """When an upload that holds a receiving slot is expected to be complete."""

    UNKNOWN = "unknown"  # it has only just begun; counted as if it ended soon, for most do
    SOON = "soon"
    LATE = "late"


class ShareExceeded(Exception):
    """Raised when a client has its `share` of uploads and waiting jobs; `retry_after` is in seconds."""

    def __init__(self, retry_after: float, share: int) -> None:
        super().__init__(f"this client already has {share} uploads under way")
        self.retry_after = retry_after
        self.share = share


@dataclass(frozen=True, slots=True)
class UploadQueueSnapshot:
    """The state of the upload queue: up to `capacity` jobs are `waiting`, and others in the overflow."""

    capacity: int
    max_receiving: int
    receiving: int
    waiting: int
    overflow: int
    drain_per_s: float
    estimated_wait_ms: int


class ReceivingSlot(Generic[E]):
    """A receiving slot, held by one upload until it is enqueued or released."""

    __slots__ = ("_held", "_upload_queue", "arrival", "client", "since")

    def __init__(self, upload_queue: "UploadQueue[E]", client: str, since: float) -> None:
        self._upload_queue = upload_queue
        self._held = True
        self.client, self.since = client, since
        self.arrival = Arrival.UNKNOWN

    def progress(self, share: float) -> None:
        """Report how much of the upload has arrived, from 0 to 1, so that a slow one keeps nobody out."""
        if self._held:
            self._upload_queue._observe_progress(self, share)

    def enqueue(self, entry: E) -> None:
        """Give up the slot for a place in the queue. Never waits and never refuses a slot that is held."""
        if not self._held:
            # Going on would be a way past the bounds.
            raise RuntimeError("the receiving slot was already given up")
        self._held = False
        self._upload_queue._enqueue(self, entry)

    def release(self) -> None:
        """Give up the slot without a job. Does nothing when the slot was given up before."""
        if self._held:
            self._held = False
            self._upload_queue._release(self)


class UploadQueue(Generic[E]):
    """Receiving slots and waiting jobs, all bounded. The caller decides who may come in.

    A caller looks at `free_slots` or `unreserved_slots`, then calls `count_client()` and `reserve()`, reads
    the body, and ends with `enqueue()` or `release()` of the slot.
    """

    def __init__(
        self,
        capacity: int,
        max_receiving: int,
        client_share: int,
        drain_rate: DrainRate,
        *,
        max_wait_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Up to `capacity` jobs wait and `max_receiving` uploads come in, `client_share` of both per client.

        The queue also counts as full when a job that is added would wait longer than `max_wait_s`.
        """
        self.capacity = self.max_capacity = capacity
        self.max_receiving = max_receiving
        self.client_share = client_share
        self.drain_rate = drain_rate
        self.max_wait_s = max_wait_s
        self._clock = clock
        self._queue: FairAsyncQueue[E] = FairAsyncQueue(maxsize=capacity)
        self._overflow = FairQueue[E]()
        self._in_order = (self._queue.fair, self._overflow)  # jobs leave the first of these first
        self._arrivals = dict.fromkeys(Arrival, 0)  # of the uploads that hold a receiving slot
        self._client_counts: Counter[str] = Counter()
        self._full_since: float | None = None
        self._free_slot_listeners: list[Callable[[], None]] = []

    def subscribe(self, on_free_slot: Callable[[], None]) -> None:
        """Have `on_free_slot` called whenever a slot may have come free."""
        self._free_slot_listeners.append(on_free_slot)

    @property
    def waiting(self) -> int:
        """Jobs in the queue and in the overflow."""
        return self._queue.qsize() + len(self._overflow)

    @property
    def receiving(self) -> int:
        """Receiving slots that are held."""
        return sum(self._arrivals.values())

    @property
    def receiving_full(self) -> bool:
        """Whether all receiving slots are held."""
        return self.receiving >= self.max_receiving

    @property
    def full_for(self) -> float:
        """Seconds for which the queue has been full without a break."""
        return 0.0 if self._full_since is None else self._clock() - self._full_since

    @property
    def load(self) -> int:
        """Jobs that wait, and uploads that will soon be jobs."""
        return self.waiting + self.receiving - self._arrivals[Arrival.LATE]

    @property
    def free_slots(self) -> int:
        """Slots for uploads that shall find room in the queue; negative by as many as are too many."""
        max_waiting = min(self.capacity, self._max_waiting_for_latency)
        return min(max_waiting - self.load, self.max_receiving - self.receiving)

    @property
    def unreserved_slots(self) -> int:
        """Slots for uploads while there are no reservations. Uploads on their way then keep nobody out.

        But those that are known to end soon count for `max_wait_s`, or a burst would wait longer than that.
        """
        for_latency = self._max_waiting_for_latency - self._arrivals[Arrival.SOON]
        max_waiting = min(self.capacity, for_latency)
        return min(max_waiting - self.waiting, self.max_receiving - self.receiving)

    @property
    def _max_waiting_for_latency(self) -> int:
        """How many jobs may wait so that none waits longer than `max_wait_s`; at least 1."""
        drained = self.max_wait_s * self.drain_rate.jobs_per_s
        return int(min(drained + 1, self.capacity + self.max_receiving))

    def resize(self, capacity: int) -> None:
        """Change how many jobs may wait, from 1 to `max_capacity`; those that wait already stay."""
        if not 1 <= capacity <= self.max_capacity:
            raise ValueError(f"a queue made for {self.max_capacity} jobs cannot be resized to {capacity}")
        self.capacity = capacity
        self._advance()

    def check_share(self, client: str, share: int | None = None) -> None:
        """Raises ShareExceeded when the client has `share` uploads and waiting jobs, or `client_share`."""
        if self._client_counts[client] >= (share := share or self.client_share):
            first_leaves_in = self.drain_rate.wait_s(self._jobs_before_first_of(client) + 1)
            raise ShareExceeded(first_leaves_in, share)

    def count_client(self, client: str) -> None:
        """Count an upload in its client's share. The caller has checked that it fits."""
        self._client_counts[client] += 1

    def uncount_client(self, client: str) -> None:
        """Undo one `count_client()`."""
        self._client_counts[client] -= 1
        if self._client_counts[client] <= 0:
            del self._client_counts[client]

    def reserve(self, client: str) -> ReceivingSlot[E]:
        """Take a receiving slot for an upload that was counted; giving up the slot undoes the counting."""
        self._arrivals[Arrival.UNKNOWN] += 1
        return ReceivingSlot(self, client, self._clock())

    def restore(self, entry: E) -> None:
        """Add a job that was accepted before a restart, ahead of every upload that is not complete."""
        self._client_counts[entry.client] += 1
        self._overflow.append(entry)
        self._advance()

    async def take(self) -> E:
        """Remove and return the next job, waiting for one if need be. Cancelling this loses no job."""
        return self._taken(await self._queue.get())

    def take_nowait(self) -> E | None:
        """Remove and return the next job; None when no job waits."""
        return None if self._queue.empty() else self._taken(self._queue.get_nowait())

    def _taken(self, entry: E) -> E:
        self.uncount_client(entry.client)
        self._advance()
        return entry

    def remove(self, entry: E) -> bool:
        """Remove a job that waits; False when it does not wait."""
        for queue in self._in_order:
            try:
                queue.remove(entry)
            except ValueError:
                continue
            self.uncount_client(entry.client)
            self._advance()
            return True
        return False

    def position(self, entry: E) -> int | None:
        """The position of a job, 1 for the next to be taken; None when it does not wait."""
        ahead = 0
        for queue in self._in_order:
            try:
                return ahead + queue.index(entry) + 1
            except ValueError:
                ahead += len(queue)
        return None

    def snapshot(self) -> UploadQueueSnapshot:
        """The state now."""
        drain_per_s = round(self.drain_rate.jobs_per_s, 3)
        wait_ms = round(self.drain_rate.wait_s(self.waiting) * 1000)
        in_queue = min(self.waiting, self.capacity)  # which may have been made smaller
        counts = self.capacity, self.max_receiving, self.receiving, in_queue, self.waiting - in_queue
        return UploadQueueSnapshot(*counts, drain_per_s, wait_ms)

    def _enqueue(self, slot: ReceivingSlot[E], entry: E) -> None:
        self._arrivals[slot.arrival] -= 1
        self.drain_rate.record_upload(self._clock() - slot.since)
        self._overflow.append(entry)
        self._advance()

    def _release(self, slot: ReceivingSlot[E]) -> None:
        self._arrivals[slot.arrival] -= 1
        self.uncount_client(slot.client)
        self._notify_free_slot()

    def _observe_progress(self, slot: ReceivingSlot[E], share: float) -> None:
        """Estimate when an upload ends, supposing that the rest arrives as fast as the beginning did."""
        elapsed = self._clock() - slot.since
        if elapsed < _MIN_OBSERVED_S:
            return
        max_s = _MAX_SOON_SHARE * self.capacity / self.drain_rate.jobs_per_s
        # The time left is elapsed * (1 - share) / share; multiplied out, a share of 0 needs no special case.
        arrival = Arrival.SOON if elapsed * (1 - share) <= max_s * share else Arrival.LATE
        if arrival is slot.arrival:
            return
        self._arrivals[slot.arrival] -= 1
        self._arrivals[arrival] += 1
        slot.arrival = arrival
        if arrival is Arrival.LATE:
            self._notify_free_slot()

    def _advance(self) -> None:
        """Move jobs from the overflow into the queue while it has room."""
        while self._overflow and self._queue.qsize() < self.capacity:
            self._queue.put_nowait(self._overflow.popleft())
        if self._queue.qsize() < self.capacity:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = self._clock()
        self._notify_free_slot()

    def _notify_free_slot(self) -> None:
        for on_free_slot in self._free_slot_listeners:
            on_free_slot()

    def _jobs_before_first_of(self, client: str) -> int:
        """How many jobs are ahead of the client's first one: all of them when it only has uploads."""
        ahead = 0
        for queue in self._in_order:
            if (first := queue.first_of(client)) is not None:
                return ahead + first
            ahead += len(queue)
        return self.waiting
