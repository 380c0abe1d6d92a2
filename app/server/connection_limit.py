"""How many connections may be open, and which of them go when there are too many.

A process that may open no further file can neither serve an image nor take an upload, and the event loop
would close newcomers in the middle of their requests. So connections have most of the files but not all,
and when they are used up those make room that ask for nothing.
"""

import resource
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

_MOST = 16_384
"""An idle connection takes some 7 KiB."""


class Connection(Protocol):
    """What is asked of a connection."""

    @property
    def peer(self) -> str:
        """The address at its other end."""

    @property
    def idle_until(self) -> float | None:
        """When it would be closed, the loop's time; None while it sends a body or gets an answer."""

    def leave(self) -> None:
        """Close it."""


def most_connections() -> int:
    """`_MOST`, or three of four files that this process may open, once it has raised that number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS has a lower bound of its own
            pass
    return min(_MOST, soft * 3 // 4)


def make_room(connections: Iterable[Connection], most: int) -> None:
    """Close some of the idle ones: first of the address that has most of them, the longest idle first.

    It is a sixteenth of `most` each time, so that a flood is not looked through for each of its connections.
    """
    idle = [(until, one) for one in connections if (until := one.idle_until) is not None]
    crowds = Counter(one.peer for _, one in idle)
    idle.sort(key=lambda each: (-crowds[each[1].peer], each[0]))
    for _, one in idle[: max(1, most // 16)]:
        one.leave()
