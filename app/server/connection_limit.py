"""How many connections may be open, and which are closed when there are too many.

A process that cannot open another file can neither serve an image nor store an upload, and its event loop
would close new connections in the middle of their requests. So connections may use most of the open files,
but not all, and when they do, idle ones are closed.
"""

import resource
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

_MAX_CONNECTIONS = 16_384
"""An idle connection takes about 7 KiB of memory."""


class Connection(Protocol):
    """What is needed of a connection."""

    @property
    def peer(self) -> str:
        """The IP address of the client."""

    @property
    def idle_until(self) -> float | None:
        """When it would be closed for being idle, in the loop's time; None while a request is under way."""

    def close_idle(self) -> None:
        """Close it."""


def max_connections() -> int:
    """The number of connections that may be open: three of four open files, at most `_MAX_CONNECTIONS`.

    The soft limit of open files (RLIMIT_NOFILE, getrlimit(2)) is raised to the hard one first.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS has a lower limit beside these two
            pass
    return min(_MAX_CONNECTIONS, soft * 3 // 4)


def make_room(connections: Iterable[Connection], limit: int) -> None:
    """Close a sixteenth of `limit` connections, or one, of those that are idle.

    First those of the address that has most of the idle ones, and of these the longest idle. That many at
    once, so that in a flood not each new connection looks through all others.
    """
    idle = [(until, each) for each in connections if (until := each.idle_until) is not None]
    per_address = Counter(each.peer for _, each in idle)
    idle.sort(key=lambda entry: (-per_address[entry[1].peer], entry[0]))
    for _, each in idle[: max(1, limit // 16)]:
        each.close_idle()
