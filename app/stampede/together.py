"""Several stampedes at the same time that print one table: they meet in a folder that they share.

Each holds the lock of a file of its own there (flock(2), which the kernel releases however a process ends),
and leaves its figures in that file. Whoever gets the lock of the file `leader` prints for all.
"""

import fcntl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_GATHER_TIMEOUT_S = 300.0
"""Seconds after its own end in which a leader waits for the others."""
_POLL_INTERVAL_S = 0.2


@dataclass(slots=True)
class Group:
    """One stampede's part in a group; `is_leader` says whether it prints for all."""

    folder: Path
    is_leader: bool
    _own: Path
    _files: tuple[BinaryIO, BinaryIO]

    @classmethod
    def join(cls, folder: Path) -> "Group":
        """Join those who meet in this folder.

        Raises:
            OSError: the folder cannot be used.
        """
        # Files stay open, and so locked, as long as the process runs.
        leader = (folder / "leader").open("ab")
        is_leader = _lock(leader)
        if is_leader:
            for _ in _ended(folder):
                pass  # left by a group before this one
        name = uuid.uuid4().hex
        joining = folder / f"{name}.joining"
        file = joining.open("xb")
        _lock(file)
        own = joining.rename(folder / f"{name}.figures")  # from now on others see it, and it is locked
        return cls(folder, is_leader, own, (leader, file))

    def leave(self, figures: bytes) -> None:
        """Leave the figures of this stampede for the leader, and the group."""
        leader, file = self._files
        file.write(figures)
        file.close()
        leader.close()

    def gather(self) -> tuple[list[bytes], int]:
        """The figures of all others, as soon as each has left, and how many left without any.

        For the leader; bounded in time: who is still there after that left without.
        """
        found: list[bytes] = []
        deadline = time.monotonic() + _GATHER_TIMEOUT_S
        while True:
            found += _ended(self.folder)
            staying = [path for path in self.folder.glob("*.figures") if path != self._own]
            if not staying or time.monotonic() > deadline:
                break
            time.sleep(_POLL_INTERVAL_S)
        self._own.unlink(missing_ok=True)
        return [each for each in found if each], len(staying) + found.count(b"")


def _ended(folder: Path) -> Iterator[bytes]:
    """What those left whose process has ended; their files are removed."""
    for path in folder.glob("*.figures"):
        try:
            with path.open("rb") as file:
                if not _lock(file):
                    continue
                yield file.read()
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue


def _lock(file: BinaryIO) -> bool:
    """Lock a file if nobody else has; whether it is locked by this process now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
