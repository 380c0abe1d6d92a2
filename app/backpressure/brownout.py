"""Brownout: under pressure, each job makes its most needed variant now and defers the others.

A brownout begins when the queue has filled to a high mark and ends when it has drained to a low mark. With
one mark for both it would flicker. Jobs with deferred variants wait in the deferred queue, which is bounded.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrownoutSnapshot:
    """Whether there is a brownout, how many have begun, and how many jobs, of `capacity`, are deferred."""

    active: bool
    begun: int
    deferred: int
    capacity: int


class DeferredQueue:
    """Keys of jobs with deferred variants, first in first out, at most `capacity` of them.

    A place is *reserved* when it is decided to defer variants, and the job becomes *ready* when its first
    variant is made. Reserved places count, so there is always room for a job whose first variant is made.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._reserved: set[str] = set()
        # Not a dict: to find the first key of a dict takes longer the more were removed from its front.
        self._ready: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._reserved) + len(self._ready)

    @property
    def ready(self) -> int:
        """How many jobs could be taken now."""
        return len(self._ready)

    def reserve(self, key: str) -> bool:
        """Reserve a place for a job; False when there is none, so that all variants must be made now."""
        if len(self) >= self.capacity:
            return False
        self._reserved.add(key)
        return True

    def push(self, key: str) -> None:
        """The deferred variants of this job can be made.

        Never refused, even without a reserved place: after a restart, jobs come back that were accepted.
        """
        self._reserved.discard(key)
        self._ready[key] = None

    def pop(self) -> str | None:
        """Remove the job that has been ready longest; None when there is none."""
        return self._ready.popitem(last=False)[0] if self._ready else None

    def remove(self, key: str) -> bool:
        """Remove a job that failed or was deleted, or its reserved place; whether it was ready."""
        self._reserved.discard(key)
        if key not in self._ready:
            return False
        del self._ready[key]
        return True


class Brownout:
    """Decides when variants are deferred, and whether a free worker takes a new or a deferred job.

    `high` and `low` are shares of the queue's capacity. While jobs wait in the queue, every `every`-th job
    that is taken is a deferred one, so that deferred variants are made even under lasting pressure. While
    none waits, all are. When the deferred queue has no capacity, a brownout never begins.
    """

    def __init__(self, high: float, low: float, deferred_queue: DeferredQueue, *, every: int = 10) -> None:
        """Raises ValueError unless 0 <= low < high <= 1 and `every` is 2 or more."""
        if not 0 <= low < high <= 1:
            raise ValueError("a brownout must end at a lower mark than it begins, both from 0 to 1")
        if every < 2:
            raise ValueError("a brownout must let workers take new jobs as well")
        self.deferred_queue = deferred_queue
        self._high = high
        self._low = low
        self._every = every
        self._active = False
        self._begun = 0
        self._taken_since_deferred = 0

    @property
    def active(self) -> bool:
        """Whether variants are to be deferred."""
        return self._active

    def observe(self, waiting: int, capacity: int) -> None:
        """Begin or end the brownout by the number of waiting jobs. To be called whenever that changes."""
        if self._active:
            self._active = waiting > self._low * capacity
        elif self.deferred_queue.capacity and waiting >= self._high * capacity:
            self._active = True
            self._begun += 1

    def split(self, key: str, variants: Iterable[str], most_needed: str) -> tuple[list[str], list[str]]:
        """The variants of a job to make now, and those to make later, for which a place is then reserved."""
        every = list(variants)
        later = [name for name in every if name != most_needed]
        if self._active and later and most_needed in every and self.deferred_queue.reserve(key):
            return [most_needed], later
        return every, []

    def full_jobs_within(self, position: int, waiting: int, capacity: int) -> int:
        """How many of the next `position` jobs are taken after the brownout, with all of their variants.

        This supposes that no more than the `waiting` jobs come, so that the queue drains to the low mark.
        """
        if not self._active:
            return 0
        taken_before_end = waiting - int(self._low * capacity)
        return min(position, max(0, position - taken_before_end))

    def deferred_is_next(self, waiting: int) -> bool:
        """Whether a free worker takes a deferred job. To be asked exactly once for each job that is taken."""
        if not self.deferred_queue.ready:
            return False
        if waiting:
            self._taken_since_deferred += 1
            if self._taken_since_deferred < self._every:
                return False
        self._taken_since_deferred = 0
        return True

    def snapshot(self) -> BrownoutSnapshot:
        """The state now."""
        return BrownoutSnapshot(
            self._active, self._begun, len(self.deferred_queue), self.deferred_queue.capacity
        )
