"""Scratch: a folder of this process alone, for what is on its way to a store elsewhere or back."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "spillway-scratch-"


class Scratch:
    """Folders below TMPDIR, which may be lost at any time; what processes left that died is swept.

    Several servers may share one TMPDIR: each holds the lock of its own folder for as long as it lives.
    """

    def __init__(self) -> None:
        self._lock: int | None = None
        self.root = Path()
        self.spool = Path()
        self.work = Path()
        self.kept = Path()

    def open(self) -> None:
        """Blocking: sweep, and make the folders. Raises OSError."""
        for leftover in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _sweep(leftover)
        while self._lock is None:
            self.root = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = _lock(self.root, os.O_CREAT)  # None: swept by another server before it was locked
        self.spool, self.work, self.kept = (self.root / name for name in ("spool", "work", "kept"))
        for folder in (self.spool, self.work, self.kept):
            folder.mkdir()

    def close(self) -> None:
        """Blocking: remove everything."""
        lock, self._lock = self._lock, None
        if lock is not None:
            shutil.rmtree(self.root, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path, flags: int = 0) -> int | None:
    """The lock of a folder as a descriptor, or None when somebody holds it or it is gone."""
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    os.close(descriptor)
    return None


def _sweep(folder: Path) -> None:
    """Remove the folder of a process that has died. TMPDIR may be everybody's: others' folders are let be."""
    with suppress(OSError):
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
