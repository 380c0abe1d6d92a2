"""`python fault.py FAULT… -- serve`: the real service, with one part of the system failing as FAULT says.

Faults:
    slow=SECONDS     every write and fsync into the store takes so long
    full=TIMES       fsync of what a worker made finds no space left on the device, so many times
    clock=FILE       the system's clock is set by as many seconds as the file says at the moment
    patience=SECONDS with readers lasts no longer
    blunder=TIMES    what workers made is met by a fault in the code, so many times
    confusion=TIMES  the same with whatever is to be recorded of a job that has ended
    panic            requests for /v1/stats meet a fault in the code
"""

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def slow(seconds: str) -> None:
    """A disk that takes its time."""

    def delayed(call: Callable[..., Any]) -> Callable[..., Any]:
        def late(*args: Any, **kwargs: Any) -> Any:
            time.sleep(float(seconds))
            return call(*args, **kwargs)

        return late

    os.fsync = delayed(os.fsync)
    write = os.write
    os.write = lambda descriptor, data: (
        delayed(write)(descriptor, data)
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
    """A clock that is set by hand; the monotonic one goes on, as it does."""
    hand, true = Path(file), time.time
    time.time = lambda: true() + float(hand.read_text())


def patience(seconds: str) -> None:
    """As ever, but tests cannot wait for it."""
    from app.server import slow_readers

    slow_readers.CHECK_INTERVAL_S = float(seconds)


def blunder(times: str) -> None:
    """A bug in what takes over the files of a worker."""
    from app.storage.local.store import LocalStore

    _break(LocalStore, "take_variants", int(times))


def confusion(times: str) -> None:
    """A bug in what writes down that a job has ended."""
    from app.storage.local.store import LocalStore

    _break(LocalStore, "save", int(times))


def _break(kind: type, name: str, times: int) -> None:
    whole = getattr(kind, name)
    left = [None] * times

    async def broken(*args: Any) -> Any:
        if left:
            left.pop()
            raise LookupError(f"a fault in {Path(__file__).parent}")
        return await whole(*args)

    setattr(kind, name, broken)


def panic(_: str) -> None:
    """A bug in what answers a request."""
    from app.api.status import Status

    def broken(_: Status) -> None:
        raise LookupError(f"a fault in {Path(__file__).parent}")

    Status.document = broken  # type: ignore[assignment,method-assign]


FAULTS = {
    "slow": slow,
    "full": full,
    "clock": clock,
    "patience": patience,
    "blunder": blunder,
    "confusion": confusion,
    "panic": panic,
}


def main() -> None:
    """Bring about each fault, then be the command."""
    end = sys.argv.index("--")
    for each in sys.argv[1:end]:
        name, _, value = each.partition("=")
        FAULTS[name](value)
    sys.argv = ["spillway", *sys.argv[end + 1 :]]
    from app.cli import main as command

    command()


if __name__ == "__main__":
    main()
