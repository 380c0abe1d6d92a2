"""Leases: receiving slots that count for all replicas. Each is a message that its holder deletes.

The server refuses one message too many, so the bound is exact however many replicas ask at once. The leases
of a replica that died expire.

A request that gets no answer may have been carried out all the same. So each lease has a name, the id of its
message. A message of the same id is a duplicate, for which the server stores nothing and answers with the
number of the first one. In this way a replica finds the leases that it holds without knowing.
"""

import asyncio
import itertools
import secrets
from contextlib import suppress

from nats.js.errors import BadRequestError

from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.upload_queue import ReceivingSlot
from app.cluster.connection import UNAVAILABLE, NatsConnection, StorageFull, StreamFull
from app.cluster.jetstream import JOBS, LEASE_SUBJECT, LEASES
from app.engine.job_handle import JobHandle


class Leases:
    """Takes and returns this replica's leases, and knows how many the others hold."""

    def __init__(self, connection: NatsConnection) -> None:
        self.held_elsewhere = 0
        """Leases of other replicas, as of the last `count`."""
        self._connection = connection
        self._replica = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._own: set[int] = set()
        self._unconfirmed: set[str] = set()
        """Names of leases whose request got no answer."""
        self._unreturned: set[int] = set()
        """Leases that are not used any more and not deleted yet."""
        self._returning: set[asyncio.Task[None]] = set()

    async def take(self) -> int | None:
        """A new lease, or None when all are taken. Raises EngineDown, BreakerOpen."""
        name = f"{self._replica}.{next(self._numbers)}"
        try:
            lease = await self._publish(name)
        except StreamFull:
            return None
        except (BreakerOpen, StorageFull):  # nothing was sent, or nothing is stored
            raise
        except BaseException:  # no answer, or the client has disconnected
            self._unconfirmed.add(name)
            raise
        self._own.add(lease)
        return lease

    async def _publish(self, name: str) -> int:
        async with self._connection.request() as js:
            return (await js.publish(LEASE_SUBJECT, headers={"Nats-Msg-Id": name})).seq

    def give_back(self, lease: int) -> None:
        """Return a lease in the background. `settle` returns one for which that fails."""
        self._own.discard(lease)
        self._unreturned.add(lease)
        task = asyncio.create_task(self._try_to_return(lease), name=f"return of lease {lease}")
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _try_to_return(self, lease: int) -> None:
        with suppress(*UNAVAILABLE):
            await self._return(lease)

    async def _return(self, lease: int) -> None:
        async with self._connection.request() as js:
            with suppress(BadRequestError):  # it has expired, or a request whose answer was lost deleted it
                await js.delete_msg(LEASES, lease)
        self._unreturned.discard(lease)

    async def settle(self) -> None:
        """Return the leases that a lost answer has left behind. Raises EngineDown, BreakerOpen."""
        for name in list(self._unconfirmed):
            with suppress(StreamFull, StorageFull):  # it is not stored; ask again when there is room
                self._unreturned.add(await self._publish(name))
                self._unconfirmed.discard(name)
        if not self._returning:
            for lease in list(self._unreturned):
                await self._return(lease)

    async def fits(self, lease: int, max_jobs: int) -> bool:
        """Whether a queue of `max_jobs` has room for all uploads whose leases are not later than this one.

        Raises:
            EngineDown, BreakerOpen: NATS is not available.
        """
        async with self._connection.request() as js:
            leases = (await js.stream_info(LEASES)).state
            queue = (await js.stream_info(JOBS)).state
        later = max(0, leases.last_seq - lease)
        return leases.messages - later + queue.messages <= max_jobs

    async def count(self) -> None:
        """Find out how many leases other replicas hold. Raises EngineDown, BreakerOpen."""
        async with self._connection.request() as js:
            taken = (await js.stream_info(LEASES)).state.messages
        self.held_elsewhere = max(0, taken - len(self._own) - len(self._unreturned))


class LeasedSlot:
    """A receiving slot of this replica together with the lease that makes it count for all replicas."""

    def __init__(self, slot: ReceivingSlot[JobHandle], leases: Leases, lease: int) -> None:
        self.client = slot.client
        self._slot = slot
        self._leases = leases
        self._lease: int | None = lease
        self._is_enqueued = False

    def progress(self, share: float) -> None:
        self._slot.progress(share)

    def release(self) -> None:
        if not self._is_enqueued:
            self._slot.release()
            self.end_lease()

    def enqueue(self, handle: JobHandle) -> None:
        """Turn the upload into a waiting job. The lease is kept until the job is in the cluster's queue."""
        self._is_enqueued = True
        self._slot.enqueue(handle)

    def end_lease(self) -> None:
        """Return the lease, once."""
        if self._lease is not None:
            self._leases.give_back(self._lease)
            self._lease = None
