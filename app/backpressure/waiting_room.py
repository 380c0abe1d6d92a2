"""The door: where uploads are let in, wait a moment for their place, or are told when to come back.

The asyncio half of the turns. Who is due while no place is free waits here, its body unread, and holds
nothing but its client's share; a place that comes free is reserved for it before it is woken.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Generic

from app.backpressure.fair_queue import E
from app.backpressure.reservations import Admit, Refuse, Requester, Reservations, ReservationsSnapshot, Wait
from app.backpressure.upload_queue import ReceivingSlot, UploadQueue

Watch = Callable[[Callable[[], Any] | None], None]
"""Has something called once when the client goes away; nothing any more when given None."""


class ClientGone(Exception):
    """Raised when a client goes away while its upload waits here."""


class QueueFull(Exception):
    """Raised when the belt or the dock is full, or what is free there is promised to others."""

    def __init__(self, retry_after: float, capacity: int) -> None:
        super().__init__(f"a place should be free in {retry_after:.0f} s")
        self.retry_after = retry_after
        self.capacity = capacity


class WaitingRoom(Generic[E]):
    """Lets uploads into the backlog by turns."""

    def __init__(
        self,
        upload_queue: UploadQueue[E],
        reservations: Reservations,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is that of the turns, in seconds."""
        self._upload_queue = upload_queue
        self._reservations = reservations
        self._clock = clock
        self._waiting: dict[Wait, asyncio.Future[ReceivingSlot[E] | None]] = {}
        upload_queue.on_free_slot = self._admit_waiting

    def resize(self, workers: int, places: int) -> None:
        """Promise by so many workers and places from now on."""
        self._upload_queue.drain_rate.workers = workers
        self._reservations.resize(workers, places)
        self._upload_queue.resize(places)

    def is_due(self, key: str) -> bool:
        """Whether this upload returns as it was told and owes no token."""
        return self._reservations.is_due(key)

    def waive_token(self, key: str) -> bool:
        """The same, once for each turn."""
        return self._reservations.waive_token(key)

    def would_refuse(self, requester: Requester) -> bool:
        """Whether this upload would be refused at once; for one that is due, False."""
        upload_queue = self._upload_queue
        return self._reservations.would_refuse(
            requester.key,
            requester.client,
            used=upload_queue.load,
            free=upload_queue.free_slots,
            room=upload_queue.unreserved_slots,
        )

    def refuse(self, requester: Requester, reopen: float, not_before: float) -> int:
        """Whole seconds until the turn of an upload to which the door is shut, or is for `reopen` seconds."""
        answer = self._request(requester, reopen, not_before)
        if isinstance(answer, Admit):  # it opened since it was found shut: a promise lapsed, say
            answer = Wait(requester.key, requester.client, requester.net, self._clock())
        if isinstance(answer, Wait):
            answer = self._reservations.expire_wait(answer, free=self._upload_queue.free_slots)
        return answer.retry_after

    async def admit(
        self, requester: Requester, not_before: float, watch: Watch, reopens_in: Callable[[], float]
    ) -> ReceivingSlot[E]:
        """A place in the dock, after a moment at the door if need be.

        `not_before` is the earliest time to tell, in seconds from now. `reopens_in` is asked at the end of
        a wait in vain: how many seconds nobody is let in, 0 when it is not for that.

        Raises:
            QueueFull: with the seconds to this upload's turn.
            ClientGone: the client went away from the door.
        """
        answer = self._request(requester, 0, not_before)
        if isinstance(answer, Refuse):
            raise QueueFull(answer.retry_after, self._upload_queue.capacity)
        self._upload_queue.count_client(requester.client)
        if isinstance(answer, Admit):
            return self._upload_queue.reserve(requester.client)
        return await self._wait(answer, watch, reopens_in)

    def close(self) -> None:
        """Send away all who wait, as the service closes."""
        for place in self._waiting.values():
            if not place.done():
                place.set_result(None)

    def _request(self, requester: Requester, reopen: float, not_before: float) -> Admit | Wait | Refuse:
        upload_queue = self._upload_queue
        return self._reservations.request(
            requester.key,
            requester.client,
            requester.net,
            used=upload_queue.load,
            free=upload_queue.free_slots,
            room=upload_queue.unreserved_slots,
            reopen=reopen,
            not_before=not_before,
        )

    async def _wait(self, wait: Wait, watch: Watch, reopens_in: Callable[[], float]) -> ReceivingSlot[E]:
        place: asyncio.Future[ReceivingSlot[E] | None] = asyncio.get_running_loop().create_future()
        self._waiting[wait] = place
        slot = None
        try:
            watch(place.cancel)
            await asyncio.wait([place], timeout=max(0.0, wait.until - self._clock()))
            if place.cancelled():
                raise ClientGone
            slot = place.result() if place.done() else None
            if slot is not None:
                return slot
            refusal = self._reservations.expire_wait(
                wait, free=self._upload_queue.free_slots, reopen=reopens_in()
            )
            raise QueueFull(refusal.retry_after, self._upload_queue.capacity)
        finally:
            watch(None)
            if self._waiting.pop(wait, None) is not None:
                self._reservations.cancel_wait(wait)
                self._upload_queue.uncount_client(wait.client)
            elif slot is None:  # called in, and cancelled before it could take its place
                reserved = place.result()
                assert reserved is not None  # noqa: S101 - that is what being called means
                reserved.release()

    def _admit_waiting(self) -> None:
        """Give free places to those who have waited longest."""
        while wait := self._reservations.next_waiter(self._upload_queue.free_slots):
            place = self._waiting.get(wait)
            if place is not None and not place.done():
                del self._waiting[wait]
                place.set_result(self._upload_queue.reserve(wait.client))

    def export(self, wall: float) -> bytes:
        """What is promised and what was measured, for the next process; `wall` is the time of day."""
        state = {"turns": self._reservations.export(wall), "pacer": self._upload_queue.drain_rate.export()}
        return json.dumps(state, separators=(",", ":")).encode()

    def restore(self, data: bytes, wall: float) -> None:
        """Keep what an earlier process promised, and believe what it measured.

        Raises:
            ValueError: this is not what `export()` gave; nothing is kept of it then.
        """
        try:
            state = json.loads(data, parse_constant=_reject)
            self._upload_queue.drain_rate.restore(state["pacer"])
            self._reservations.restore(state["turns"], wall)
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError) as error:
            raise ValueError(f"not a record of promises: {error!r}") from None

    def snapshot(self) -> ReservationsSnapshot:
        """What is promised now."""
        return self._reservations.snapshot()


def _reject(constant: str) -> None:
    raise ValueError(f"{constant} is no time")
