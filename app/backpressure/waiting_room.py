"""The door: where uploads are let in, wait a moment for their place, or are told when to come back.

The asyncio half of the turns. Who is due while no place is free waits here, its body unread, and holds
nothing but its client's share; a place that comes free is reserved for it before it is woken.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Generic

from starlette.requests import ClientDisconnect

from app.backpressure.fair_queue import E
from app.backpressure.reservations import Admit, Park, Refuse, Turns, TurnsSnapshot, Visitor
from app.backpressure.upload_queue import Backlog, Slot

Watch = Callable[[Callable[[], Any] | None], None]
"""Has something called once when the client goes away; nothing any more when given None."""


class QueueFull(Exception):  # noqa: N818 - a refusal, not an error
    """Raised when the belt or the dock is full, or what is free there is promised to others."""

    def __init__(self, retry_after: float, capacity: int) -> None:
        super().__init__(f"a place should be free in {retry_after:.0f} s")
        self.retry_after = retry_after
        self.capacity = capacity


class Door(Generic[E]):
    """Lets uploads into the backlog by turns."""

    def __init__(
        self, backlog: Backlog[E], turns: Turns, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` is that of the turns, in seconds."""
        self._backlog = backlog
        self._turns = turns
        self._clock = clock
        self._waiting: dict[Park, asyncio.Future[Slot[E] | None]] = {}
        backlog.on_room = self._call_in

    def resize(self, workers: int, places: int) -> None:
        """Promise by so many workers and places from now on."""
        self._backlog.pacer.workers = workers
        self._turns.resize(workers, places)
        self._backlog.resize(places)

    def is_due(self, key: str) -> bool:
        """Whether this upload returns as it was told and owes no token."""
        return self._turns.is_due(key)

    def excuse(self, key: str) -> bool:
        """The same, once for each turn."""
        return self._turns.excuse(key)

    def is_shut(self, visitor: Visitor) -> bool:
        """Whether this upload would be refused at once; for one that is due, False."""
        backlog = self._backlog
        return self._turns.is_shut(
            visitor.key, visitor.client, used=backlog.used, free=backlog.free, room=backlog.room
        )

    def refuse(self, visitor: Visitor, reopen: float, not_before: float) -> int:
        """Whole seconds until the turn of an upload to which the door is shut, or is for `reopen` seconds."""
        answer = self._ask(visitor, reopen, not_before)
        if isinstance(answer, Admit):  # it opened since it was found shut: a promise lapsed, say
            answer = Park(visitor.key, visitor.client, visitor.net, self._clock())
        if isinstance(answer, Park):
            answer = self._turns.give_up(answer, free=self._backlog.free)
        return answer.retry_after

    async def admit(
        self, visitor: Visitor, not_before: float, watch: Watch, reopens_in: Callable[[], float]
    ) -> Slot[E]:
        """A place in the dock, after a moment at the door if need be.

        `not_before` is the earliest time to tell, in seconds from now. `reopens_in` is asked at the end of
        a wait in vain: how many seconds nobody is let in, 0 when it is not for that.

        Raises:
            QueueFull: with the seconds to this upload's turn.
            ClientDisconnect: the client went away from the door.
        """
        answer = self._ask(visitor, 0, not_before)
        if isinstance(answer, Refuse):
            raise QueueFull(answer.retry_after, self._backlog.capacity)
        self._backlog.hold(visitor.client)
        if isinstance(answer, Admit):
            return self._backlog.reserve(visitor.client)
        return await self._wait(answer, watch, reopens_in)

    def dismiss(self) -> None:
        """Send away all who wait, as the service closes."""
        for place in self._waiting.values():
            if not place.done():
                place.set_result(None)

    def _ask(self, visitor: Visitor, reopen: float, not_before: float) -> Admit | Park | Refuse:
        backlog = self._backlog
        return self._turns.ask(
            visitor.key,
            visitor.client,
            visitor.net,
            used=backlog.used,
            free=backlog.free,
            room=backlog.room,
            reopen=reopen,
            not_before=not_before,
        )

    async def _wait(self, park: Park, watch: Watch, reopens_in: Callable[[], float]) -> Slot[E]:
        place: asyncio.Future[Slot[E] | None] = asyncio.get_running_loop().create_future()
        self._waiting[park] = place
        slot = None
        try:
            watch(place.cancel)
            await asyncio.wait([place], timeout=max(0.0, park.until - self._clock()))
            if place.cancelled():
                raise ClientDisconnect
            slot = place.result() if place.done() else None
            if slot is not None:
                return slot
            refusal = self._turns.give_up(park, free=self._backlog.free, reopen=reopens_in())
            raise QueueFull(refusal.retry_after, self._backlog.capacity)
        finally:
            watch(None)
            if self._waiting.pop(park, None) is not None:
                self._turns.leave(park)
                self._backlog.drop_hold(park.client)
            elif slot is None:  # called in, and cancelled before it could take its place
                reserved = place.result()
                assert reserved is not None  # noqa: S101 - that is what being called means
                reserved.release()

    def _call_in(self) -> None:
        """Give free places to those who have waited longest."""
        while park := self._turns.call(self._backlog.free):
            place = self._waiting.get(park)
            if place is not None and not place.done():
                del self._waiting[park]
                place.set_result(self._backlog.reserve(park.client))

    def export(self, wall: float) -> bytes:
        """What is promised and what was measured, for the next process; `wall` is the time of day."""
        state = {"turns": self._turns.export(wall), "pacer": self._backlog.pacer.export()}
        return json.dumps(state, separators=(",", ":")).encode()

    def restore(self, data: bytes, wall: float) -> None:
        """Keep what an earlier process promised, and believe what it measured.

        Raises:
            ValueError: this is not what `export()` gave; nothing is kept of it then.
        """
        try:
            state = json.loads(data, parse_constant=_reject)
            self._backlog.pacer.restore(state["pacer"])
            self._turns.restore(state["turns"], wall)
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError) as error:
            raise ValueError(f"not a record of promises: {error!r}") from None

    def snapshot(self) -> TurnsSnapshot:
        """What is promised now."""
        return self._turns.snapshot()


def _reject(constant: str) -> None:
    raise ValueError(f"{constant} is no time")
