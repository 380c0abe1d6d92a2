"""The waiting room: admits uploads into the queue, lets them wait a moment for a slot, or refuses them.

This is the asyncio half of the reservations. A client that comes back at its time while no slot is free waits
here with its body unread. It occupies no slot, but counts in its client's share. When a slot comes free it is
taken for the client that has waited longest, and only then does its task wake up: nobody can slip in between.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Generic

from app.backpressure.fair_queue import E
from app.backpressure.reservation_table import Requester
from app.backpressure.reservations import (
    Admit,
    Decision,
    QueueLoad,
    Refuse,
    Reservations,
    ReservationsSnapshot,
    Wait,
)
from app.backpressure.upload_queue import ReceivingSlot, UploadQueue

Watch = Callable[[Callable[[], Any] | None], None]
"""Registers a function to be called once when the client goes away; None takes the registration back."""


_RESTORED_AT_ONCE = 500
"""Reservations of an earlier process that are read or taken over before anything else is done."""
_RESERVATIONS = '"turns":['
"""What comes before the list of reservations in an export. No string of JSON has a bare quotation mark."""


class ClientGone(Exception):
    """Raised when a client goes away while its upload waits for a slot."""


class QueueFull(Exception):
    """Raised when there is no slot for an upload, or those that are free are reserved for others.

    `retry_after` is in seconds, `capacity` the number of jobs that may wait. `slots_taken` tells that the
    queue itself has room, and only the receiving slots are all taken.
    """

    def __init__(self, retry_after: float, capacity: int, *, slots_taken: bool = False) -> None:
        reason = "all receiving slots are taken" if slots_taken else "the queue is full"
        super().__init__(f"{reason}; a slot should be free in {retry_after:.0f} s")
        self.retry_after = retry_after
        self.capacity = capacity


class WaitingRoom(Generic[E]):
    """Hands out the receiving slots of an upload queue by reservations."""

    def __init__(
        self,
        upload_queue: UploadQueue[E],
        reservations: Reservations,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the clock of `reservations`, in seconds."""
        self._upload_queue = upload_queue
        self._reservations = reservations
        self._clock = clock
        self._waiters: dict[Wait, asyncio.Future[ReceivingSlot[E] | None]] = {}
        """What those who wait are waiting for: a slot, or None when the waiting room closes."""
        upload_queue.subscribe(self._admit_waiting)

    def resize(self, workers: int, capacity: int) -> None:
        """Change how many workers there are and how many jobs may wait."""
        self._upload_queue.drain_rate.workers = workers
        self._reservations.resize(workers, capacity)
        self._upload_queue.resize(capacity)

    def is_due(self, key: str) -> bool:
        """Whether this upload was refused, comes back at its time, and so owes no token."""
        return self._reservations.is_due(key)

    def waive_token(self, key: str) -> bool:
        """Whether this upload is due. True once for each reservation: a second try is charged a token."""
        return self._reservations.waive_token(key)

    def would_refuse(self, requester: Requester) -> bool:
        """Whether this upload would certainly be refused now; never true for one that is due."""
        return self._reservations.would_refuse(requester, self._load())

    def refuse(self, requester: Requester, reopens_in: float, not_before: float) -> int:
        """Refuse an upload whatever room there is. Gives the whole seconds until it shall come back.

        Nobody is admitted for the next `reopens_in` seconds, and this client is told to stay away for
        `not_before` seconds at least.
        """
        refusal = self._reservations.refuse(
            requester, self._upload_queue.free_slots, reopens_in=reopens_in, not_before=not_before
        )
        return refusal.retry_after

    async def admit(
        self, requester: Requester, not_before: float, watch: Watch, reopens_in: Callable[[], float]
    ) -> ReceivingSlot[E]:
        """A receiving slot for this upload, perhaps after a wait of a few seconds.

        A client that is refused is told to stay away for `not_before` seconds at least. `reopens_in` is
        asked when a wait ends without a slot: for how many seconds nobody is admitted, 0 if somebody is.

        Raises:
            QueueFull: with the seconds until this upload shall come back.
            ClientGone: `watch` reported that the client went away while it waited.
        """
        decision: Decision = self._reservations.request(requester, self._load(), not_before=not_before)
        if isinstance(decision, Refuse):
            raise self._full(decision)
        self._upload_queue.count_client(requester.client)
        if isinstance(decision, Admit):
            return self._upload_queue.reserve(requester.client)
        return await self._wait(decision, watch, reopens_in)

    def close(self) -> None:
        """Refuse all who wait, because the service shuts down."""
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_result(None)

    def _full(self, refusal: Refuse) -> QueueFull:
        queue = self._upload_queue
        slots_taken = queue.receiving_full and queue.waiting < queue.capacity
        return QueueFull(refusal.retry_after, queue.capacity, slots_taken=slots_taken)

    def _load(self) -> QueueLoad:
        queue = self._upload_queue
        return QueueLoad(queue.load, queue.free_slots, queue.unreserved_slots)

    async def _wait(self, wait: Wait, watch: Watch, reopens_in: Callable[[], float]) -> ReceivingSlot[E]:
        waiter: asyncio.Future[ReceivingSlot[E] | None] = asyncio.get_running_loop().create_future()
        self._waiters[wait] = waiter
        slot = None
        try:
            watch(waiter.cancel)
            await asyncio.wait([waiter], timeout=max(0.0, wait.until - self._clock()))
            if waiter.cancelled():
                raise ClientGone
            slot = waiter.result() if waiter.done() else None
            if slot is not None:
                return slot
            free_slots = self._upload_queue.free_slots
            refusal = self._reservations.expire_wait(wait, free_slots, reopens_in=reopens_in())
            raise self._full(refusal)
        finally:
            watch(None)
            if self._waiters.pop(wait, None) is not None:
                self._reservations.cancel_wait(wait)
                self._upload_queue.uncount_client(wait.requester.client)
            elif slot is None:  # a slot was taken for it, and its task cancelled before it woke up
                taken = waiter.result()
                assert taken is not None  # noqa: S101 - a waiter is removed with a slot as its result
                taken.release()

    def _admit_waiting(self) -> None:
        """Take free slots for those who have waited longest."""
        while wait := self._reservations.next_waiter(self._upload_queue.free_slots):
            waiter = self._waiters.get(wait)
            if waiter is not None and not waiter.done():
                del self._waiters[wait]
                waiter.set_result(self._upload_queue.reserve(wait.requester.client))

    def export(self, wall: float) -> bytes:
        """Reservations and measurements as JSON, for the next process; `wall` is the time of day in seconds.

        The keys "turns" and "pacer" are a stored format, older than the names in this module.
        """
        state = {"turns": self._reservations.export(wall), "pacer": self._upload_queue.drain_rate.export()}
        return json.dumps(state, separators=(",", ":")).encode()

    async def restore(self, data: bytes, wall: float) -> None:
        """Take over the reservations and measurements that an earlier process exported, some at a time.

        Raises:
            ValueError: this is not what `export()` gave; no reservation was taken over.
        """
        try:
            state = await _parse(data.decode())
            self._upload_queue.drain_rate.restore(state["pacer"])
            for number, _ in enumerate(self._reservations.restore(state["turns"], wall), 1):
                if number % _RESTORED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError) as error:
            raise ValueError(f"not an export of reservations: {error!r}") from None

    def snapshot(self) -> ReservationsSnapshot:
        """The state of the reservations now."""
        return self._reservations.snapshot()


async def _parse(exported: str) -> Any:
    """What `export()` wrote, parsed some reservations at a time: a hundred thousand take 50 ms and more.

    JSON in another form is parsed in one piece. Raises ValueError if it is none.
    """
    decoder = json.JSONDecoder(parse_constant=_reject_constant)
    before, reservations = exported.find(_RESERVATIONS) + len(_RESERVATIONS), []
    if before < len(_RESERVATIONS):
        return decoder.decode(exported)
    at = before
    while exported.startswith("[", at):
        reservation, end = decoder.raw_decode(exported, at)
        at = end + exported.startswith(",", end)
        reservations.append(reservation)
        if len(reservations) % _RESTORED_AT_ONCE == 0:
            await asyncio.sleep(0)
    state = decoder.decode(exported[:before] + exported[at:])
    state["turns"]["turns"] = reservations
    return state


def _reject_constant(constant: str) -> None:
    """NaN and the infinities, which Python's JSON reads but JSON does not have, are no times."""
    raise ValueError(f"{constant} is not a time")
