"""Leases: places in the dock that count for all replicas, each a message that its holder deletes.

The server refuses one too many by itself, so the bound is exact however many replicas ask at once. The places
of a replica that died come back when their leases run out.
"""

import asyncio

from app.backpressure.upload_queue import ReceivingSlot
from app.cluster.connection import UNAVAILABLE, NatsConnection, StreamFull
from app.cluster.jetstream import JOBS, LEASE_SUBJECT, LEASES
from app.engine.job_handle import JobHandle


class Leases:
    """Takes and gives back; knows how many are out."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._own: set[int] = set()
        self._returning: set[asyncio.Task[None]] = set()
        self.elsewhere = 0
        """How many other replicas hold, when last counted."""

    async def take(self) -> int | None:
        """A lease, or None when all are out. Raises EngineDown, BreakerOpen."""
        try:
            async with self._connection.request() as js:
                lease = (await js.publish(LEASE_SUBJECT)).seq
        except StreamFull:
            return None
        self._own.add(lease)
        return lease

    def give_back(self, lease: int) -> None:
        """Let others have it, in a moment; one that cannot be returned runs out by itself."""
        self._own.discard(lease)
        task = asyncio.create_task(self._return(lease))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _return(self, lease: int) -> None:
        try:
            async with self._connection.request() as js:
                await js.delete_msg(LEASES, lease)
        except UNAVAILABLE:
            pass

    async def fits(self, lease: int, bound: int) -> bool:
        """Whether a queue of `bound` messages has room for all leases up to this. Raises as `take` does."""
        async with self._connection.request() as js:
            dock = (await js.stream_info(LEASES)).state
            queue = (await js.stream_info(JOBS)).state
        return dock.messages - max(0, dock.last_seq - lease) + queue.messages <= bound

    async def count(self) -> None:
        """Look how many are out. Raises EngineDown, BreakerOpen."""
        async with self._connection.request() as js:
            out = (await js.stream_info(LEASES)).state.messages
        self.elsewhere = max(0, out - len(self._own) - len(self._returning))


class LeasedSlot:
    """A place in the dock: one of this replica's, and a lease of it that counts for all."""

    def __init__(self, slot: ReceivingSlot[JobHandle], leases: Leases, lease: int) -> None:
        self.client = slot.client
        self._slot = slot
        self._offered = False
        self._leases = leases
        self._lease: int | None = lease

    def progress(self, share: float) -> None:
        self._slot.progress(share)

    def release(self) -> None:
        if not self._offered:
            self._slot.release()
            self.end_lease()

    def enqueue(self, handle: JobHandle) -> None:
        """Its upload has become a job; the lease lasts until that is in the queue."""
        self._offered = True
        self._slot.enqueue(handle)

    def end_lease(self) -> None:
        """Let other replicas have the place."""
        if self._lease is not None:
            self._leases.give_back(self._lease)
            self._lease = None
