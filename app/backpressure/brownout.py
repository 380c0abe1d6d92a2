"""Brownout: under pressure each job makes its most needed variant now, and the others when there is time.

Two marks, not one: it begins when the queue has filled to the high mark and ends when it has drained to the
low one, so that it does not flicker. What was put off stays in the deferred lane, which has a bound.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrownoutSnapshot:
    """Whether it is on, how often it began, and what is put off, of `capacity`."""

    active: bool
    begun: int
    deferred: int
    capacity: int


class DeferredQueue:
    """Jobs with something left to make, oldest first, at most `capacity` of them.

    A job *holds* a place from the moment that it is decided to put a part off, and is *ready* once the first
    part is made. Held places count, so that a job's second part is never refused after its first was made.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._reserved: set[str] = set()
        self._ready: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._reserved) + len(self._ready)

    @property
    def ready(self) -> int:
        """How many could be taken now."""
        return len(self._ready)

    def reserve(self, key: str) -> bool:
        """Keep a place for the rest of a job; False when there is none: the job is to be made whole."""
        if len(self) >= self.capacity:
            return False
        self._reserved.add(key)
        return True

    def push(self, key: str) -> None:
        """The rest of this job can be made. Never refused: a restart brings promised ones back too."""
        self._reserved.discard(key)
        self._ready[key] = None

    def pop(self) -> str | None:
        """The one that has been ready longest, now the caller's to make."""
        for key in self._ready:
            del self._ready[key]
            return key
        return None

    def remove(self, key: str) -> bool:
        """The job failed, or was deleted; whether its rest was ready."""
        self._reserved.discard(key)
        if key not in self._ready:
            return False
        del self._ready[key]
        return True


class Brownout:
    """Tells when to put variants off, and whose turn it is: a fresh job's or the lane's.

    `high` and `low` are shares of the queue's places. While jobs wait, the lane gets one turn in `every`, so
    that even under lasting pressure all that was put off is made; while none waits it gets every turn.
    With a lane of no places it never begins.
    """

    def __init__(self, high: float, low: float, deferred_queue: DeferredQueue, *, every: int = 10) -> None:
        if not 0 <= low < high <= 1 or every < 2:
            raise ValueError("a brownout ends below where it begins, and leaves turns to fresh jobs")
        self.deferred_queue = deferred_queue
        self._high = high
        self._low = low
        self._every = every
        self._active = False
        self._begun = 0
        self._turns = 0

    @property
    def active(self) -> bool:
        """Whether jobs are to put variants off."""
        return self._active

    def ends_before(self, place: int, waiting: int, places: int) -> int:
        """How many of the first `place` jobs are taken after its end, should no more than `waiting` come."""
        whole = place - waiting + int(self._low * places) if self._active else 0
        return max(0, min(place, whole))

    def observe(self, waiting: int, places: int) -> None:
        """How many jobs wait now, for so many places; to be told at every change."""
        if not self._active and self.deferred_queue.capacity and waiting >= self._high * places:
            self._active = True
            self._begun += 1
        elif self._active and waiting <= self._low * places:
            self._active = False

    def split(self, key: str, variants: Iterable[str], needed: str) -> tuple[list[str], list[str]]:
        """Which variants of a job to make now and which later; later ones hold a place in the lane."""
        every = list(variants)
        later = [name for name in every if name != needed]
        if self._active and later and needed in every and self.deferred_queue.reserve(key):
            return [needed], later
        return every, []

    def deferred_is_next(self, waiting: int) -> bool:
        """Whether a free worker is to take from the lane; asked once for each job that is taken."""
        if not self.deferred_queue.ready:
            return False
        if waiting:
            self._turns += 1
            if self._turns < self._every:
                return False
        self._turns = 0
        return True

    def snapshot(self) -> BrownoutSnapshot:
        """The state now."""
        return BrownoutSnapshot(
            self._active, self._begun, len(self.deferred_queue), self.deferred_queue.capacity
        )
