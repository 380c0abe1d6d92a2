"""A temporary folder of this process, for files on their way to a bucket or back. Every call here blocks."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "spillway-scratch-"


class Scratch:
    """A folder below TMPDIR, whose content may be lost at any time without harm.

    Several servers may share one TMPDIR. Each holds the lock of its own folder for as long as it lives, so a
    folder that is not locked was left by a process that died, and is removed by the next one that starts.
    """

    def __init__(self) -> None:
        self._lock: int | None = None
        self.root = Path()
        self.spool = Path()
        """Uploads on their way in."""
        self.work = Path()
        """What workers read and write."""
        self.kept = Path()
        """Copies of sources that are in the bucket."""

    def open(self) -> None:
        """Remove what dead processes left, and make the folders. Raises OSError."""
        for leftover in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _remove_if_unused(leftover)
        while self._lock is None:
            self.root = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = _take_lock(self.root, os.O_CREAT)  # None: another server removed it before the lock
        self.spool, self.work, self.kept = (self.root / name for name in ("spool", "work", "kept"))
        for folder in (self.spool, self.work, self.kept):
            folder.mkdir()

    def close(self) -> None:
        """Remove everything."""
        lock, self._lock = self._lock, None
        if lock is not None:
            shutil.rmtree(self.root, ignore_errors=True)
            os.close(lock)


def _take_lock(folder: Path, flags: int = 0) -> int | None:
    """Lock a folder; the lock's descriptor, or None if another process has it or the folder is gone."""
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


def _remove_if_unused(folder: Path) -> None:
    """Remove the folder of a process that has died. Folders of other users are left alone."""
    with suppress(OSError):
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return
        lock = _take_lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
