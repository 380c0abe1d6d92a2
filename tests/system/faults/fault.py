"""`python fault.py FAULT… -- serve`: the real service, with one part of it or of the system failing.

Faults:
    stalled=FILE     every write and fsync into the store waits for as long as the file exists
    full=TIMES       fsync of a worker's files finds no space left on the device, this many times
    clock=FILE       the system's clock is ahead by the number of seconds in the file, which may change
    patience=SECONDS connections of slow readers are looked at after this time
    blunder=TIMES    taking over a worker's files raises an unexpected exception, this many times
    confusion=TIMES  saving a job's record raises an unexpected exception, this many times
    panic            requests for /v1/stats raise an unexpected exception
"""

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STALL_POLL_S = 0.02


def stalled(file: str) -> None:
    """A disk that does not answer for a while."""
    hold = Path(file)

    def waiting(call: Callable[..., Any]) -> Callable[..., Any]:
        def late(*args: Any, **kwargs: Any) -> Any:
            while hold.exists():
                time.sleep(_STALL_POLL_S)
            return call(*args, **kwargs)

        return late

    os.fsync = waiting(os.fsync)
    write = os.write
    os.write = lambda descriptor, data: (
        waiting(write)(descriptor, data)
        if "/data/" in str(Path(f"/proc/self/fd/{descriptor}").readlink())
        else write(descriptor, data)
    )


def full(times: str) -> None:
    """A disk that has room for a name, but not for the bytes that the system has not written yet."""
    fsync, left = os.fsync, [None] * int(times)

    def no_room(descriptor: Any) -> None:
        if left and "/data/work/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            left.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    os.fsync = no_room


def clock(file: str) -> None:
    """The calendar's clock is set by hand; the monotonic one goes on undisturbed, as in a real system."""
    hand, true = Path(file), time.time
    time.time = lambda: true() + float(hand.read_text())


def patience(seconds: str) -> None:
    """Slow readers are given less time, so that tests need not wait for it."""
    from app.server import slow_readers

    _replace(slow_readers, "CHECK_INTERVAL_S", float(seconds))


def blunder(times: str) -> None:
    """A bug in the store's code that takes over a worker's files."""
    from app.storage.local.store import LocalStore

    _break(LocalStore, "take_variants", int(times))


def confusion(times: str) -> None:
    """A bug in the store's code that saves a job's record."""
    from app.storage.local.store import LocalStore

    _break(LocalStore, "save", int(times))


def _replace(owner: Any, name: str, value: Any) -> None:
    """Set an attribute that is there: one that was renamed would be set in vain."""
    assert hasattr(owner, name), f"{owner} has no {name}"
    setattr(owner, name, value)


def _break(kind: type, name: str, times: int) -> None:
    """Have a coroutine function of a class raise, `times` times, before it works again."""
    whole = getattr(kind, name)
    left = [None] * times

    async def broken(*args: Any) -> Any:
        if left:
            left.pop()
            raise LookupError(f"a fault in {Path(__file__).parent}")
        return await whole(*args)

    _replace(kind, name, broken)


def panic(_: str) -> None:
    """A bug in the code that answers a request."""
    from app.api.status import Status

    def broken(_: Status) -> None:
        raise LookupError(f"a fault in {Path(__file__).parent}")

    _replace(Status, "document", broken)


FAULTS = {
    "stalled": stalled,
    "full": full,
    "clock": clock,
    "patience": patience,
    "blunder": blunder,
    "confusion": confusion,
    "panic": panic,
}


def main() -> None:
    """Bring about each fault, then run the `spillway` command."""
    end = sys.argv.index("--")
    for each in sys.argv[1:end]:
        name, _, value = each.partition("=")
        FAULTS[name](value)
    sys.argv = ["spillway", *sys.argv[end + 1 :]]
    from app.cli import main as command

    command()


if __name__ == "__main__":
    main()
