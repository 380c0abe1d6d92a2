"""A ranking: keys in ascending order, each of which can be asked how many stand before it."""

from bisect import bisect_left, insort
from typing import Any, Generic, Protocol, TypeVar


class Sortable(Protocol):
    """What can be ordered."""

    def __lt__(self, other: Any, /) -> bool:
        """Whether it stands before `other`."""


K = TypeVar("K", bound=Sortable)


class Ranking(Generic[K]):
    """Different keys in ascending order.

    A sorted list: a key is found in O(log n) comparisons, and removing the first one takes constant time.
    Adding or removing one elsewhere moves those behind it, which is one copy of memory (of 100 000, 20 µs).
    """

    def __init__(self) -> None:
        self._keys: list[K] = []
        self._gone = 0
        """Keys at the beginning of the list that were removed. They are cut off when they are half of it."""

    def __len__(self) -> int:
        return len(self._keys) - self._gone

    def add(self, key: K) -> None:
        """Add a key that is not there yet."""
        insort(self._keys, key, self._gone)

    def rank(self, key: K) -> int:
        """How many keys stand before this one. Raises ValueError when it is not there."""
        at = bisect_left(self._keys, key, self._gone)
        if at == len(self._keys) or self._keys[at] != key:
            raise ValueError("this key is not in the ranking")
        return at - self._gone

    def remove(self, key: K) -> None:
        """Remove a key. Raises ValueError when it is not there."""
        del self._keys[self._gone + self.rank(key)]

    def pop_first(self) -> K:
        """Remove the first key. Raises IndexError when there is none."""
        key = self._keys[self._gone]
        self._gone += 1
        if 2 * self._gone >= len(self._keys):
            del self._keys[: self._gone]
            self._gone = 0
        return key
