"""How many connections may be open or hold much, and which are closed when there are too many.

A process that cannot open another file can neither serve an image nor store an upload, and its event loop
would close new connections in the middle of their requests. So connections may use most of the open files,
but not all, and when they do, idle ones are closed. Whoever fills a bound from few addresses is closed first.
"""

import resource
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

_MAX_CONNECTIONS = 16_384
"""An idle connection takes about 7 KiB of memory."""
MAX_LARGE_HEADS = 256
"""Unfinished heads of more than one read; each may take 70 KiB of memory."""


class FromAddress(Protocol):
    """A connection, or what belongs to one."""

    @property
    def peer(self) -> str:
        """The IP address of the client."""


class Connection(FromAddress, Protocol):
    """What is needed of a connection."""

    @property
    def idle_until(self) -> float | None:
        """When it would be closed for being idle, in the loop's time; None while a request is under way."""

    def close_idle(self) -> None:
        """Close it."""


T = TypeVar("T", bound=FromAddress)


def busiest(members: Sequence[T], number: int) -> list[T]:
    """So many of the members: first those of the address that has most, and of these the foremost."""
    per_address = Counter(each.peer for each in members)
    return sorted(members, key=lambda each: -per_address[each.peer])[:number]


class BoundedGroup(Generic[T]):
    """Connections that hold something, in the order in which they came, and no more than a bound."""

    def __init__(self, max_members: int, evict: Callable[[T], None]) -> None:
        """`evict` ends what a member holds, and removes it."""
        self._max_members = max_members
        self._evict = evict
        self._members: dict[T, None] = {}

    def add(self, member: T) -> None:
        """Add a member. If that makes too many, a sixteenth of them is evicted, as `busiest` chooses."""
        self._members[member] = None
        if len(self._members) > self._max_members:
            for each in busiest(list(self._members), max(1, self._max_members // 16)):
                self._evict(each)

    def remove(self, member: T) -> None:
        """Forget a member, if it is known."""
        self._members.pop(member, None)


class HeadConnection(FromAddress, Protocol):
    """A connection that receives a head."""

    def refuse_head(self) -> None:
        """Refuse it, before it is complete."""


class LargeHeads(BoundedGroup[HeadConnection]):
    """Connections with an unfinished head of more than one read, at most `MAX_LARGE_HEADS`."""

    def __init__(self) -> None:
        super().__init__(MAX_LARGE_HEADS, lambda connection: connection.refuse_head())


def max_connections() -> int:
    """The number of connections that may be open: three of four open files, at most `_MAX_CONNECTIONS`.

    The others are kept for the store and the workers. The soft limit of open files (RLIMIT_NOFILE,
    getrlimit(2)) is raised to the hard one first.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS has a lower limit beside these two
            pass
    return min(_MAX_CONNECTIONS, soft * 3 // 4)


def make_room(connections: Iterable[Connection], limit: int) -> bool:
    """Close a sixteenth of `limit` connections, or one, of those that are idle. Whether there was one.

    First those of the address that has most of the idle ones, and of these the longest idle. That many at
    once, so that in a flood not each new connection looks through all others.
    """
    idle = [(until, each) for each in connections if (until := each.idle_until) is not None]
    idle.sort(key=lambda entry: entry[0])
    for each in busiest([each for _, each in idle], max(1, limit // 16)):
        each.close_idle()
    return bool(idle)
