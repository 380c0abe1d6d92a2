"""The directory of a local store: its layout, its lock, its secret and the saved state. Every call blocks.

    layout                  the version of this layout, see `app.storage.layout`
    secret                  32 random bytes: the key of the delete tokens
    note                    the state that a process saves for the next one; removed as it is read
    inventory               what a store knew of its jobs when it was closed; removed at the start
    lock                    held (flock) by the one server that uses this directory
    spool/<id>/source       an upload on its way in; removed at the start
    work/<id>-<random>/     what a worker is writing; removed at the start
    outbox/<name>           an event that waits to be delivered
    spent/<id>              a single-use ticket whose image was removed
    images/<ab>/<id>/       an accepted job, below the first two characters of its id:
        job.json            its record
        source              the upload, until the job is final
        original            the upload after that, where it is kept
        <name>.<extension>  its variants

What happens below `images` is in `job_folders`. A name that ends in `.new` is a file that was being written
when the process died.
"""

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from app.storage.base import SECRET_BYTES
from app.storage.interface import StoreUnusable
from app.storage.layout import LAYOUT_BYTES, LAYOUT_NAME, check_layout
from app.storage.local import durable
from app.storage.local.inventory import Inventory

_MAX_STATE_BYTES = 256 * 2**20


def _user() -> str:
    return f"uid {os.geteuid()}, gid {os.getegid()}"


class Directory:
    """The root folder of a local store, used by one server at a time."""

    def __init__(self, root: Path, *, keeps_images: bool = False) -> None:
        """`keeps_images` says that images are kept for good."""
        self.root = root
        self._keeps_images = keeps_images
        self.spool = root / "spool"
        self.work = root / "work"
        self.images = root / "images"
        self.outbox = root / "outbox"
        self.spent = root / "spent"
        self.secret = b""
        self.inventory: Inventory | None = None
        """Both are set by `open()`; the inventory if there is one of this very state of the folders."""
        self.workspaces: set[Path] = set()
        """The folders of workers that are there."""
        self._lock: int | None = None
        self._device = 0

    def open(self) -> None:
        """Take the lock, make the folders, remove what an earlier process left half done, read the secret.

        Raises:
            StoreUnusable: another server has the lock, a newer version wrote it, or the secret is damaged.
            OSError: the directory cannot be used.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._device = self.root.stat().st_dev
        self._lock = self._take_lock()
        if not self._has_layout():
            self._write_layout()
        self.inventory = self._take_inventory()
        for leftover in (self.spool, self.work):
            shutil.rmtree(leftover, ignore_errors=True)
        self._make_folders()
        path = self.root / "secret"
        if not path.exists():
            durable.replace(path, secrets.token_bytes(SECRET_BYTES), 0o600)
        self.secret = path.read_bytes()
        if len(self.secret) < SECRET_BYTES:
            raise StoreUnusable(f"the store's secret {path} is damaged: it has {len(self.secret)} bytes")

    def check(self) -> str:
        """Try whether files can be written in each folder, and leave none; one line on what was found.

        Raises:
            StoreUnusable: one of them cannot be written, or a folder cannot be made; or a newer version
                wrote it.
        """
        try:
            there = [path for path in (self.root, *self._folders()) if path.exists()]
            nearest = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
            for folder in there or [nearest]:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            for name in ("lock", "secret"):
                with suppress(FileNotFoundError), (self.root / name).open("rb"):
                    pass
            self._has_layout()
        except OSError as error:
            raise self.unusable(error) from None
        state = "may be written" if there else "is not there yet and can be made"
        return f"the store {self.root} {state} by {_user()}"

    def unusable(self, error: OSError) -> StoreUnusable:
        """What to tell the operator of an error: of missing permissions also whose, where, and a remedy."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.EACCES, errno.EPERM):
            path = error.filename or self.root
            reason += (
                f" at {path} for {_user()}; give the folder to that user (chown -R {os.geteuid()} "
                f"{self.root}), or set SPILLWAY_STORE_URL to one that it may write"
            )
        elif error.errno == errno.EROFS:
            reason += "; mount it writable, or set SPILLWAY_STORE_URL to a folder that may be written"
        return StoreUnusable(f"the store {self.root} cannot be used: {reason}")

    def close(self, inventory: Inventory | None = None) -> None:
        """Release the lock, and keep the inventory for the next start. Does nothing when it was released."""
        if self._lock is not None and inventory is not None:
            with suppress(OSError):  # the next start does without
                data = inventory.to_bytes(self._stamp(), keeps_images=self._keeps_images)
                durable.replace(self._inventory, data, 0o600)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _take_lock(self) -> int:
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreUnusable(f"the store {self.root} is in use by another server") from None
        return lock

    def _has_layout(self) -> bool:
        """Whether there is a `layout`. Raises StoreUnusable if this version cannot read what it names."""
        try:
            content = (self.root / LAYOUT_NAME).read_bytes()
        except FileNotFoundError:
            return False
        check_layout(content, f"the store {self.root}")
        return True

    def _write_layout(self) -> None:
        try:
            durable.replace(self.root / LAYOUT_NAME, LAYOUT_BYTES)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # A full disk still serves and deletes; a later start writes it.

    def _folders(self) -> tuple[Path, ...]:
        return self.spool, self.work, self.images, self.outbox, self.spent

    def _make_folders(self) -> None:
        for folder in self._folders():
            folder.mkdir(exist_ok=True)
        durable.fsync(self.root)

    def recreate_if_emptied(self) -> bool:
        """Make an empty store where somebody has removed everything by hand; whether that was so.

        Raises:
            OSError: the disk is gone (the path is on another device now), or another server has the lock.
        """
        if all(folder.is_dir() for folder in self._folders()):
            return False
        there = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        if there.stat().st_dev != self._device:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self.root.mkdir(parents=True, exist_ok=True)
        lock = self._lock
        if lock is not None and os.fstat(lock).st_nlink == 0:  # the file that we hold was removed
            try:
                self._lock = self._take_lock()
            except StoreUnusable as error:
                raise OSError(errno.EBUSY, str(error)) from None
            os.close(lock)
        self._write_layout()
        durable.replace(self.root / "secret", self.secret, 0o600)
        self._make_folders()
        return True

    def new_workspace(self, job_id: str) -> Path:
        """Make a new, empty folder for a worker; its absolute path."""
        folder = (self.work / f"{job_id}-{secrets.token_hex(4)}").absolute()
        folder.mkdir()
        self.workspaces.add(folder)
        return folder

    def drop_workspace(self, folder: Path) -> None:
        """Remove a worker's folder. Most often nothing is in it, for its files have been taken."""
        try:
            folder.rmdir()
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
        self.workspaces.discard(folder)

    @property
    def _inventory(self) -> Path:
        return self.root / "inventory"

    def _stamp(self) -> dict[str, int]:
        """When the folders around the jobs last changed. `open()` makes two of them anew each time."""
        folders = [self.spool, self.work, self.images, *self.images.iterdir()]
        return {str(folder.relative_to(self.root)): folder.stat().st_ctime_ns for folder in folders}

    def _take_inventory(self) -> Inventory | None:
        """Read and remove what the last `close()` wrote; None when it did not, or when that is of no use."""
        found = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            data = self._inventory.read_bytes()
            found = Inventory.from_bytes(data, self._stamp(), keeps_images=self._keeps_images)
        for name in (self._inventory, self._inventory.with_name("inventory.new")):
            name.unlink(missing_ok=True)  # durably by `_make_folders()`, before anything changes
        return found

    def load_state(self) -> bytes | None:
        """Read and remove the note; None when there is none, or what is in its place cannot be read."""
        path = self.root / "note"
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_STATE_BYTES)
            path.unlink()
        except OSError:
            return None
        return data

    def save_state(self, data: bytes) -> None:
        """Write the note, readable by the owner alone."""
        durable.replace(self.root / "note", data, 0o600)
