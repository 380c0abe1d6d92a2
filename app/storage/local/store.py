"""A store in one directory of the local file system.

    secret                  32 random bytes: the key of the delete tokens
    note                    what a process leaves for the next one; read once
    lock                    held by the one server that uses this directory
    spool/<id>/source       an upload on its way in; swept at the start
    work/<id>/…             what a worker is writing; swept at the start
    images/<ab>/<id>/       an accepted job: job.json, source (until it is final) and its variants

A job is accepted by one rename of its spool folder into `images`, after everything in it was fsynced and
before the parent folder is; so there is never half a job. Every blocking call runs in a thread, writers
and readers in separate ones: a disk that is slow to write stalls neither the loop nor the images served.
"""

import asyncio
import errno
import fcntl
import hashlib
import heapq
import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread

from app.job import Job, MadeVariant, is_id
from app.storage.base import StoreBase
from app.storage.interface import JobExists, JobGone, Spool, StoreError
from app.storage.local import durable
from app.storage.spool import SOURCE, FileSpool, disk_full_refuses
from app.storage.verify import plain_file, variant_of
from workers.messages import Made

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_RECORD = "job.json"
_MOST_NOTED = 64 * 2**20
_REMEMBERED = 1024


class _Spool(FileSpool):
    """An upload that is accepted by moving its folder."""

    def seal(self, record: bytes) -> None:
        """Blocking: make the folder durable, with the record in it."""
        folder, descriptor = self.gathered()
        with disk_full_refuses():
            os.fsync(descriptor)
            self.close()
            durable.write(folder / _RECORD, record)
            durable.fsync(folder)

    def move(self, home: Path) -> None:
        """Blocking: move the sealed folder to its home, durably. Raises JobExists when that is taken."""
        assert self.folder is not None  # noqa: S101 - it is sealed
        try:
            with disk_full_refuses():
                durable.move_durably(self.folder, home, home.parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise JobExists(home.name) from None
            raise
        self.folder = None


class _Blob:
    """One variant's open file."""

    def __init__(self, store: "LocalStore", descriptor: int) -> None:
        self._store = store
        self._descriptor = descriptor

    async def read(self, offset: int, length: int) -> bytes:
        return await self._store.reading(os.pread, self._descriptor, length, offset)

    def close(self) -> None:
        os.close(self._descriptor)


class LocalStore(StoreBase):
    """The store of one machine: see the module for its layout."""

    def __init__(
        self, root: Path, max_bytes: int, retention: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Keeps at most `max_bytes`, each finished job for `retention` seconds of `clock`'s time."""
        self._root = root
        self._spool = root / "spool"
        self._work = root / "work"
        self._images = root / "images"
        super().__init__(max_bytes, retention, clock)
        self._lock: int | None = None
        self._remembered: OrderedDict[str, Job] = OrderedDict()
        self._pending: list[tuple[float, str]] = []
        self._durable_shards: set[str] = set()
        self._removal = threading.Lock()

    # --- threads ---------------------------------------------------------------------------------------

    async def writing(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call that writes, in one of the writers' threads."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._writers)

    async def reading(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call that reads, in one of the readers' threads."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._readers)

    # --- life ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._writers = CapacityLimiter(8)
        self._readers = CapacityLimiter(8)
        try:
            await self.writing(self._open)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StoreError(f"the store {self._root} cannot be used: {reason}") from None

    def _open(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        self._device = self._root.stat().st_dev
        self._lock = self._locked()
        for leftover in (self._spool, self._work):
            shutil.rmtree(leftover, ignore_errors=True)
        self._make_folders()
        secret = self._root / "secret"
        if not secret.exists():
            durable.write_durably(secret, secrets.token_bytes(32), 0o600)
        self._secret = secret.read_bytes()
        if len(self._secret) < 32:
            raise StoreError(f"the store's secret {secret} is damaged: it has {len(self._secret)} bytes")
        self._space.used, self._pending = self._survey()

    def _locked(self) -> int:
        lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StoreError(f"the store {self._root} is in use by another server") from None
        return lock

    def _make_folders(self) -> None:
        for folder in (self._spool, self._work, self._images):
            folder.mkdir(exist_ok=True)
        durable.fsync(self._root)

    def _mend(self) -> bool:
        """Go on in an empty store where somebody removed everything by hand; whether that was so.

        Raises:
            OSError: the disk itself is gone, or another server has taken what is there now.
        """
        if self._spool.is_dir() and self._work.is_dir() and self._images.is_dir():
            return False
        there = next(path for path in (self._root, *self._root.absolute().parents) if path.exists())
        if there.stat().st_dev != self._device:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self._root.mkdir(parents=True, exist_ok=True)
        lock = self._lock
        if lock is not None and os.fstat(lock).st_nlink == 0:
            try:
                self._lock = self._locked()
            except StoreError as error:
                raise OSError(errno.EBUSY, str(error)) from None
            os.close(lock)
        durable.write_durably(self._root / "secret", self._secret, 0o600)
        self._make_folders()
        return True

    def _survey(self) -> tuple[int, list[tuple[float, str]]]:
        """Bytes on disk, and the jobs that have a source left: those that may not be final."""
        used = 0
        pending = []
        for folder in self._folders():
            for entry in os.scandir(folder):
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(".new"):
                    Path(entry.path).unlink(missing_ok=True)
                    continue
                used += status.st_size if entry.name != _RECORD else 0
                if entry.name == SOURCE:
                    pending.append((status.st_mtime, folder.name))
        heapq.heapify(pending)
        return used, pending

    def _count(self) -> int:
        """Bytes on disk, while files come and go."""
        used = 0
        for folder in self._folders():
            with suppress(FileNotFoundError):
                for entry in os.scandir(folder):
                    used += entry.stat(follow_symlinks=False).st_size if entry.name != _RECORD else 0
        return used

    def _folders(self) -> Iterator[Path]:
        for shard in sorted(self._images.iterdir()):
            yield from self._shard_folders(shard)

    @staticmethod
    def _shard_folders(shard: Path) -> list[Path]:
        try:
            return [Path(entry.path) for entry in os.scandir(shard) if is_id(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    async def close(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    async def load_state(self) -> bytes | None:
        return await self.reading(self._load_state)

    def _load_state(self) -> bytes | None:
        try:
            with (self._root / "note").open("rb") as file:
                data = file.read(_MOST_NOTED)
            (self._root / "note").unlink()
        except OSError:
            return None
        return data

    async def save_state(self, data: bytes) -> None:
        await self.writing(self._save_state, data)

    def _save_state(self, data: bytes) -> None:
        durable.write_durably(self._root / "note", data, 0o600)

    async def pending(self) -> AsyncIterator[Job]:
        while self._pending:
            accepted_at, job_id = heapq.heappop(self._pending)
            job = await self.reading(self._read_record, job_id)
            if job is None:
                # The record is damaged but the photo is there: make everything of it rather than lose it.
                try:
                    size = (await self.reading(self.source(job_id).stat)).st_size
                    job = Job(job_id, accepted_at, size, wanted=())
                    await self.save(job)
                except (FileNotFoundError, JobGone):
                    continue  # its client has deleted it since
            if job.is_final:  # the server died between the record and the removal of the source
                freed = await self.writing(self._drop_source, job_id)
                self._space.used -= freed
            else:
                yield job

    # --- uploads ---------------------------------------------------------------------------------------

    async def spool(self, job_id: str) -> _Spool:
        return _Spool(self._spool / job_id, self.writing)

    async def accept(self, spool: Spool, job: Job) -> None:
        assert isinstance(spool, _Spool)  # noqa: S101 - a store is given its own spools only
        freed = await self.writing(self._accept, spool, job)
        self._space.used += job.size - freed
        self._remembered.pop(job.id, None)

    def _accept(self, spool: _Spool, job: Job) -> int:
        """Bytes that this freed: the id of a key may be that of a job which is over but not swept yet."""
        home = self._home(job.id)
        freed = 0
        spool.seal(job.to_record())
        with disk_full_refuses():
            self._make_shard(home.parent)
        try:
            spool.move(home)
        except JobExists:
            freed = self._remove_if_over(job.id)
            spool.move(home)
        return freed

    def _make_shard(self, shard: Path) -> None:
        """A job is as durable as the folder that its own is in, which somebody else may just have made."""
        try:
            shard.mkdir()
        except FileExistsError:
            if shard.name in self._durable_shards:
                return
        durable.fsync(self._images)
        self._durable_shards.add(shard.name)

    # --- work ------------------------------------------------------------------------------------------

    async def fetch(self, job_id: str, folder: Path) -> Path:  # noqa: ARG002 - it is on this machine
        return self.source(job_id)

    def source(self, job_id: str) -> Path:
        """Where the upload is, until its job is final."""
        return (self._home(job_id) / SOURCE).absolute()

    async def workspace(self, job_id: str) -> Path:
        folder = (self._work / f"{job_id}-{secrets.token_hex(4)}").absolute()
        await self.writing(folder.mkdir)
        return folder

    async def drop_workspace(self, folder: Path) -> None:
        await self.writing(shutil.rmtree, folder, ignore_errors=True)

    async def take_variants(self, job: Job, folder: Path, made: Sequence[Made]) -> dict[str, MadeVariant]:
        home = self._home(job.id)
        variants, replaced = await self.writing(
            self._if_there, home, lambda: self._take_variants(home, folder, made)
        )
        self._space.used += sum(variant.size for variant in variants.values()) - replaced
        return variants

    @classmethod
    def _take_variants(
        cls, home: Path, folder: Path, made: Sequence[Made]
    ) -> tuple[dict[str, MadeVariant], int]:
        """The variants, and the bytes of an earlier try that they replace; a rejected job moves nothing."""
        adopted = {item.name: cls._inspect(folder, item) for item in made}
        replaced = 0
        for variant in adopted.values():
            with suppress(FileNotFoundError):
                replaced += (home / variant.file).stat().st_size
            (folder / variant.file).rename(home / variant.file)
        durable.fsync(home)
        return adopted, replaced

    @staticmethod
    def _inspect(folder: Path, item: Made) -> MadeVariant:
        with plain_file(folder, item) as file:
            # The bytes that are hashed here are the ones that will be served.
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            return variant_of(item, os.fstat(file.fileno()).st_size, digest)

    async def save(self, job: Job) -> None:
        home, record = self._home(job.id), job.to_record()
        self._remembered.pop(job.id, None)
        await self.writing(self._if_there, home, lambda: durable.write_durably(home / _RECORD, record))
        if job.is_final:
            freed = await self.writing(self._drop_source, job.id)
            self._space.used -= freed  # in a line of its own: `x -= await y` reads x before it waits

    def _if_there(self, home: Path, write: Callable[[], T]) -> T:
        """Raises JobGone where `write` fails for want of a job's folder; if `images` is gone, the disk is."""
        try:
            return write()
        except FileNotFoundError:
            if self._images.is_dir() and not home.is_dir():
                raise JobGone(home.name) from None
            raise

    def _drop_source(self, job_id: str) -> int:
        source = self._home(job_id) / SOURCE
        try:
            size = source.stat().st_size
            source.unlink()
        except FileNotFoundError:
            return 0
        return size

    # --- reading ---------------------------------------------------------------------------------------

    def _home(self, job_id: str) -> Path:
        if not is_id(job_id):
            raise ValueError("not an id")
        return self._images / job_id[:2] / job_id

    async def load(self, job_id: str) -> Job | None:
        job = self._remembered.get(job_id)
        if job is None:
            job = await self.reading(self._read_record, job_id)
            if job is None:
                return None
            if job.is_final and not self._expired(job):
                self._remembered[job_id] = job
                while len(self._remembered) > _REMEMBERED:
                    self._remembered.popitem(last=False)
        else:
            self._remembered.move_to_end(job_id)
        return None if self._expired(job) else job

    def _read_record(self, job_id: str) -> Job | None:
        try:
            job = Job.from_record((self._home(job_id) / _RECORD).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return job if job.id == job_id else None

    async def blob(
        self,
        job: Job,
        variant: str,
        span: tuple[int, int] | None = None,  # noqa: ARG002 - a file can be read from anywhere
    ) -> _Blob | None:
        path = self._home(job.id) / job.made[variant].file
        try:
            descriptor = await self.reading(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if os.fstat(descriptor).st_size != job.made[variant].size:  # cut by a failing disk, or by hand
            os.close(descriptor)
            return None
        return _Blob(self, descriptor)

    # --- removal ---------------------------------------------------------------------------------------

    async def delete(self, job_id: str) -> None:
        self._remembered.pop(job_id, None)
        freed = await self.writing(self._delete, job_id)
        self._space.used -= freed
        self._remembered.pop(job_id, None)  # a reader may have loaded it meanwhile

    def _delete(self, job_id: str) -> int:
        """Remove a job's folder in one step for readers; the bytes that this freed."""
        home = self._home(job_id)
        grave = self._work / f"gone-{secrets.token_hex(8)}"
        try:
            durable.move_durably(home, grave, home.parent)
        except FileNotFoundError:
            return 0
        freed = sum(entry.stat().st_size for entry in os.scandir(grave) if entry.name != _RECORD)
        shutil.rmtree(grave, ignore_errors=True)
        return freed

    async def sweep(self) -> int:
        removed = 0
        if await self.writing(self._mend):
            log.warning("store was emptied by hand", store=str(self._root))
            self._remembered.clear()
            self._durable_shards.clear()
            self._space.doubted = True
        for shard in await self.reading(lambda: sorted(self._images.iterdir())):
            for job_id in await self.reading(self._expired_in, shard):
                freed = await self.writing(self._remove_if_over, job_id)
                self._space.used -= freed
                self._remembered.pop(job_id, None)
                removed += 1
            await asyncio.sleep(0)
        if self._space.doubted:
            self._space.doubted = False
            before = self._space.used
            found = await self.reading(self._count)
            self._space.used += found - before
        return removed

    def _expired_in(self, shard: Path) -> list[str]:
        horizon = self._clock() - self.retention
        expired = []
        for folder in self._shard_folders(shard):
            try:
                written = (folder / _RECORD).stat().st_mtime
            except FileNotFoundError:
                continue
            # A record is written last when its job ends, so a younger one need not be opened.
            if written <= horizon and self._is_over(folder.name):
                expired.append(folder.name)
        return expired

    def _is_over(self, job_id: str) -> bool:
        job = self._read_record(job_id)
        if job is None:  # damaged, and without its source nobody could ever ask for it again
            return not (self._home(job_id) / SOURCE).exists()
        return self._expired(job)

    def _remove_if_over(self, job_id: str) -> int:
        """Remove what is over, and not the job that another upload of its key has put in its place since."""
        with self._removal:
            return self._delete(job_id) if self._is_over(job_id) else 0
