"""The calendar of reservations: how many clients are expected in each second of the next hour."""

_SECONDS = 4096
"""Seconds that the calendar covers: a power of two, and more than the furthest reservation lies ahead."""


class ReservationCalendar:
    """Counts by the second, in which the first second with room is found in O(log n).

    The counts are the leaves of a binary tree whose inner nodes hold the least count below them. Node n has
    the children 2n and 2n + 1, and the root is node 1. Seconds are used modulo `_SECONDS`: a count must have
    been taken back before its second comes round again, an hour later.
    """

    def __init__(self) -> None:
        self._least = [0] * (2 * _SECONDS)

    def add(self, second: int, count: int) -> None:
        """Add `count`, which may be negative, to what is expected in a second."""
        least = self._least
        node = _SECONDS + second % _SECONDS
        least[node] += count
        while node > 1:
            node //= 2
            smaller = min(least[2 * node], least[2 * node + 1])
            if least[node] == smaller:
                return
            least[node] = smaller

    def counts(self, second: int, seconds: int) -> list[int]:
        """How many clients are expected in each of so many seconds, from this one on."""
        return [self._least[_SECONDS + (second + each) % _SECONDS] for each in range(seconds)]

    def first_below(self, second: int, limit: float) -> int:
        """The first second, from this one on, in which less than `limit` clients are expected.

        When no second of the next hour has so few, this is the one behind all that the calendar covers.
        """
        start = second % _SECONDS
        leaf = self._find(start, limit)
        if leaf is None:
            leaf = self._find(0, limit)
        return second + (_SECONDS if leaf is None else (leaf - start) % _SECONDS)

    def _find(self, leaf: int, limit: float) -> int | None:
        """The first leaf, from this one to the last, with a count below `limit`."""
        least = self._least
        node = _SECONDS + leaf
        while least[node] >= limit:
            while node % 2:  # a right child: nothing of its parent is left to look at
                node //= 2
                if node == 0:
                    return None
            node += 1
        while node < _SECONDS:
            node *= 2
            if least[node] >= limit:
                node += 1
        return node - _SECONDS
