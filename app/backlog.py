"""The backlog: the loading dock, the entrance and the belt.

An upload first reserves a place in the *dock*, then is read. When its body is complete it moves to the
*belt*, a bounded asyncio.Queue from which the workers take. Should the belt be full by then, it
waits at the *entrance*, already safe on disk, ahead of every newcomer. So nobody is ever read in full
only to be refused, and a slow uplink holds a place in the dock, never one on the belt.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from app.pacer import Pacer


class QueueFull(Exception):  # noqa: N818 - a refusal, not an error
    """Raised when the belt or the dock is full, or the wait would be too long."""

    def __init__(self, retry_after: float, capacity: int) -> None:
        super().__init__(f"a place should be free in {retry_after:.1f} s")
        self.retry_after = retry_after
        self.capacity = capacity


class ShareExceeded(Exception):  # noqa: N818 - a refusal, not an error
    """Raised when one client has its full share of the dock and the queue."""

    def __init__(self, retry_after: float, share: int) -> None:
        super().__init__(f"this client has {share} uploads in work already")
        self.retry_after = retry_after
        self.share = share


class Queued(Protocol):
    """What the backlog needs to know of an entry."""

    client: str


E = TypeVar("E", bound=Queued)


@dataclass(frozen=True, slots=True)
class BacklogSnapshot:
    """The state of the backlog; `waiting` counts the belt and the entrance, waits are in ms."""

    capacity: int
    dock: int
    receiving: int
    waiting: int
    drain_per_s: float
    estimated_wait_ms: int


class Slot(Generic[E]):
    """A place in the dock, held by one upload until it is offered or released."""

    __slots__ = ("_backlog", "_held", "client")

    def __init__(self, backlog: "Backlog[E]", client: str) -> None:
        self._backlog = backlog
        self._held = True
        self.client = client

    def offer(self, entry: E) -> None:
        """Hand the finished upload over to the queue. Never waits and never refuses."""
        if not self._held:
            raise RuntimeError("the slot was given back already")
        self._held = False
        self._backlog._arrive(entry)

    def release(self) -> None:
        """Give the place back; harmless after `offer` and when called again."""
        if self._held:
            self._held = False
            self._backlog._leave_dock(self.client)


class _Belt(asyncio.Queue[E]):
    """An asyncio.Queue whose waiting entries can be looked at and taken out, by the hooks of its kind."""

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self._queue: deque[E] = deque()

    def _put(self, item: E) -> None:
        self._queue.append(item)

    def _get(self) -> E:
        return self._queue.popleft()

    def index(self, entry: E) -> int:
        return self._queue.index(entry)

    def remove(self, entry: E) -> None:
        self._queue.remove(entry)


class Backlog(Generic[E]):
    """Places for uploads on their way in and for jobs that wait, all bounded."""

    def __init__(
        self,
        capacity: int,
        dock: int,
        share: int,
        pacer: Pacer,
        *,
        max_wait: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`capacity` jobs on the belt, `dock` uploads, `share` of both for one client, `max_wait` seconds."""
        self.capacity = capacity
        self.dock = dock
        self.share = share
        self.pacer = pacer
        self.max_wait = max_wait
        self._clock = clock
        self._belt: _Belt[E] = _Belt(maxsize=capacity)
        self._entrance: deque[E] = deque()
        self._receiving = 0
        self._held: Counter[str] = Counter()
        self._full_since: float | None = None

    @property
    def waiting(self) -> int:
        """Jobs on the belt and at the entrance."""
        return self._belt.qsize() + len(self._entrance)

    @property
    def dock_full(self) -> bool:
        """Whether every place for an upload on its way in is taken."""
        return self._receiving >= self.dock

    @property
    def full_for(self) -> float:
        """Seconds for which the belt has been full without a break."""
        return 0.0 if self._full_since is None else self._clock() - self._full_since

    def check_share(self, client: str) -> None:
        """Raises ShareExceeded: the client has as much in work as one client may."""
        if self._held[client] >= self.share:
            ahead = self._first_of(client)
            raise ShareExceeded(self.pacer.wait(ahead + 1), self.share)

    def check_room(self, not_before: float = 0) -> None:
        """Raises QueueFull: no place for a newcomer until `not_before` seconds from now or later."""
        waiting = self.waiting
        if self._belt.full() or self._entrance or self.dock_full:
            ahead = max(0, waiting - self.capacity) + 1
        elif self.pacer.wait(waiting) > self.max_wait:
            ahead = waiting - int(self.max_wait * self.pacer.rate)
        else:
            return
        raise QueueFull(self.pacer.turn(ahead, not_before), self.capacity)

    def reserve(self, client: str) -> Slot[E]:
        """Take a place in the dock; the two checks come first and are the caller's."""
        self._receiving += 1
        self._held[client] += 1
        return Slot(self, client)

    def restore(self, entry: E) -> None:
        """Put an accepted job from before a restart at the entrance, ahead of every newcomer."""
        self._held[entry.client] += 1
        self._entrance.append(entry)
        self._advance()

    async def take(self) -> E:
        """The next job, as soon as there is one. Cancelling loses nothing."""
        entry = await self._belt.get()
        self._drop_hold(entry.client)
        self._advance()
        return entry

    def remove(self, entry: E) -> bool:
        """Take a waiting job out; False when it is not waiting."""
        try:
            self._entrance.remove(entry)
        except ValueError:
            try:
                self._belt.remove(entry)
            except ValueError:
                return False
        self._drop_hold(entry.client)
        self._advance()
        return True

    def position(self, entry: E) -> int | None:
        """Place in the queue, 1 for the next to be taken; None when it is not waiting."""
        try:
            return self._belt.index(entry) + 1
        except ValueError:
            try:
                return self._belt.qsize() + self._entrance.index(entry) + 1
            except ValueError:
                return None

    def snapshot(self) -> BacklogSnapshot:
        """The state now."""
        waiting = self.waiting
        return BacklogSnapshot(
            self.capacity,
            self.dock,
            self._receiving,
            waiting,
            round(self.pacer.rate, 3),
            round(self.pacer.wait(waiting) * 1000),
        )

    def _arrive(self, entry: E) -> None:
        self._receiving -= 1
        self._entrance.append(entry)
        self._advance()

    def _leave_dock(self, client: str) -> None:
        self._receiving -= 1
        self._drop_hold(client)

    def _drop_hold(self, client: str) -> None:
        self._held[client] -= 1
        if self._held[client] <= 0:
            del self._held[client]

    def _advance(self) -> None:
        """Let the entrance onto the belt while there is room."""
        while self._entrance and not self._belt.full():
            self._belt.put_nowait(self._entrance.popleft())
        if not self._belt.full():
            self._full_since = None
        elif self._full_since is None:
            self._full_since = self._clock()

    def _first_of(self, client: str) -> int:
        """How many jobs are ahead of the client's first; all of them when it only has uploads."""
        for index in range(self._belt.qsize()):
            if self._belt._queue[index].client == client:
                return index
        return self.waiting
