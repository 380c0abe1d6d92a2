"""The folders of the jobs in a local store: `images/<ab>/<id>/` with record, upload and variants.

Every call blocks. Sizes are in bytes, and records are not counted in them.

An upload is accepted by one rename of its spool folder into `images`. Everything in that folder was fsynced
before, and the folder that receives it is fsynced after, so a crash leaves the whole job or nothing of it. A
job is deleted by one rename into `work`, so no reader finds a part of it.
"""

import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from app.job import Job, MadeVariant, is_id
from app.storage.base import parse_record
from app.storage.interface import JobExists, JobGone
from app.storage.local import durable
from app.storage.local.inventory import RECORD
from app.storage.spool import SOURCE, FileSpool, raising_store_full
from app.storage.verify import claimed_file, made_variant, pieces
from workers.messages import Made

T = TypeVar("T")

ORIGINAL = "original"
"""The name of an upload that is kept after its job has become final. By that of a source, a start finds the
jobs that are not."""


class JobFolders:
    """Reads, writes and removes the folders of jobs."""

    def __init__(self, images: Path, trash: Path, is_expired: Callable[[Job], bool]) -> None:
        """`trash` is a folder of the same file system, into which a job is moved before it is removed.

        `is_expired` tells whether the retention of a job is over.
        """
        self._images = images
        self._trash = trash
        self._is_expired = is_expired
        self._durable_shards: set[str] = set()
        self._removal = threading.Lock()

    # --- one job ---------------------------------------------------------------------------------------

    def home(self, job_id: str) -> Path:
        """The folder of a job. Raises ValueError for what is no id."""
        if not is_id(job_id):
            raise ValueError("not an id")
        return self._images.joinpath(job_id[:2], job_id)

    def source(self, job_id: str) -> Path:
        """The absolute path of a job's upload, which is there until the job is final."""
        return (self.home(job_id) / SOURCE).absolute()

    def read_record(self, job_id: str) -> Job | None:
        """The job of a record, or None when there is none or it is damaged. Raises OSError."""
        try:
            return parse_record(job_id, (self.home(job_id) / RECORD).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def accept(self, spool: FileSpool, job: Job) -> None:
        """Make an upload a job, durably.

        Raises:
            JobExists, StoreFull, OSError: the upload was not accepted, and the same call may be made again.
        """
        home = self.home(job.id)
        with raising_store_full():
            folder, descriptor = spool.flush()
            os.fsync(descriptor)
            job.digest = spool.digest()
            durable.write(folder / RECORD, job.to_record())
            durable.fsync(folder)
            self._make_shard(home.parent)
            _move_home(folder, home)
        spool.moved()

    def _make_shard(self, shard: Path) -> None:
        """Make the folder of a job's folder. A job is durable only if that one is, whoever has made it."""
        try:
            shard.mkdir()
        except FileExistsError:
            if shard.name in self._durable_shards:
                return
        durable.fsync(self._images)
        self._durable_shards.add(shard.name)

    def take_variants(
        self, job_id: str, folder: Path, made: Sequence[Made]
    ) -> tuple[dict[str, MadeVariant], int]:
        """Move inspected variants into a job's folder; the variants, and the bytes that they replaced.

        Raises:
            VariantRejected: one of them is not what it should be, and none was moved.
            JobGone, StoreFull, OSError: they could not be moved.
        """
        home = self.home(job_id)

        def take() -> tuple[dict[str, MadeVariant], int]:
            variants = {each.name: _inspect(folder, each) for each in made}
            replaced = 0
            for each in made:
                target = home / variants[each.name].file
                with suppress(FileNotFoundError):
                    replaced += target.stat().st_size
                (folder / each.file).rename(target)
            durable.fsync(home)
            return variants, replaced

        return self._write_into(home, take)

    def write_record(self, job: Job) -> None:
        """Replace the record of a job, durably. Raises JobGone, StoreFull, OSError."""
        home, record = self.home(job.id), job.to_record()
        self._write_into(home, lambda: durable.replace(home / RECORD, record))

    def _write_into(self, home: Path, write: Callable[[], T]) -> T:
        """Run `write`, which writes into a job's folder.

        Raises:
            JobGone: it failed because that folder is gone. If `images` is gone too, the disk is, and the
                FileNotFoundError stays one.
        """
        try:
            with raising_store_full():
                return write()
        except FileNotFoundError:
            if self._images.is_dir() and not home.is_dir():
                raise JobGone(home.name) from None
            raise

    def save(self, job: Job) -> int:
        """Replace the record of a job, durably; the bytes that this freed if the job is final.

        Raises:
            JobGone, StoreFull, OSError: as `write_record`.
        """
        self.write_record(job)
        return self.settle_source(job) if job.is_final else 0

    def settle_source(self, job: Job) -> int:
        """Remove the upload of a final job, or keep it as the original; the bytes that this freed.

        Provisional variants that were replaced are removed before, so that a start after a crash finds a
        source, and does the rest.
        """
        source = self.source(job.id)
        freed = sum(durable.remove(source.with_name(file)) for file in job.replaced_files)
        if not job.keeps_original:
            return freed + durable.remove(source)
        with suppress(FileNotFoundError):
            source.rename(source.with_name(ORIGINAL))
        return freed

    def reopen(self, job: Job) -> None:
        """Make the original the source again, and then write the record of the job's next run.

        A crash between the two leaves a final job with a source, which `settle_source()` puts right. The lock
        keeps the sweep from removing the job meanwhile.

        Raises:
            JobGone: the job is gone, has expired, or is not what it was before this run.
            StoreFull, OSError: nothing has changed.
        """
        with self._removal:
            stored = self.read_record(job.id)
            was = (job.created_at, job.reopened - 1)
            if stored is None or not stored.is_final or stored.run != was or self._is_expired(stored):
                raise JobGone(job.id)
            source = self.source(job.id)
            original = source.with_name(ORIGINAL)
            self._write_into(source.parent, lambda: durable.move(original, source, source.parent))
            try:
                self.write_record(job)
            except OSError:
                source.rename(original)
                raise

    def delete(self, job_id: str) -> int:
        """Remove a job's folder, for readers in one step; the bytes that this freed."""
        home = self.home(job_id)
        removed = self._trash / f"gone-{secrets.token_hex(8)}"
        try:
            durable.move(home, removed, home.parent)
        except FileNotFoundError:
            return 0
        freed = sum(_kept_bytes(entry) for entry in os.scandir(removed))
        shutil.rmtree(removed, ignore_errors=True)
        return freed

    def remove_if_over(self, job_id: str) -> int:
        """Remove a job that nobody can ask for any more; the bytes that this freed.

        The lock keeps the sweep from removing the job that a new upload with the same Idempotency-Key has
        put in its place since the sweep looked.
        """
        with self._removal:
            return self.delete(job_id) if self._is_over(job_id, self.read_record(job_id)) else 0

    # --- all jobs --------------------------------------------------------------------------------------

    def shards(self) -> list[Path]:
        """The folders of `images`, each with the jobs whose ids begin alike."""
        return sorted(self._images.iterdir())

    def read_records(self, job_ids: Iterable[str]) -> list[tuple[str, Job | None]]:
        """The ids with what `read_record()` gives for them."""
        return [(job_id, self.read_record(job_id)) for job_id in job_ids]

    def find_over(
        self, job_ids: Iterable[str]
    ) -> tuple[list[tuple[str, Job | None]], list[tuple[float, str]]]:
        """Of these jobs, those that nobody can ask for any more, and the others that are final.

        The former are given with their records, None where they are damaged, the latter with the time of
        their end.
        """
        over: list[tuple[str, Job | None]] = []
        later = []
        for job_id, job in self.read_records(job_ids):
            if self._is_over(job_id, job):
                if job is not None or self.home(job_id).is_dir():
                    over.append((job_id, job))
            elif job is not None and job.is_final and job.finished_at is not None:
                later.append((max(job.finished_at, job.completed_at or 0.0), job_id))
        return over, later

    def _is_over(self, job_id: str, job: Job | None) -> bool:
        if job is None:  # it is damaged, and without its source the job could never be made again
            return not self.source(job_id).exists()
        return self._is_expired(job)

    def forget_shards(self) -> None:
        """Know of no durable shard any more, since somebody may have removed them."""
        self._durable_shards.clear()


def _kept_bytes(entry: os.DirEntry[str]) -> int:
    return 0 if entry.name == RECORD else entry.stat(follow_symlinks=False).st_size


def _move_home(folder: Path, home: Path) -> None:
    try:
        durable.move(folder, home, home.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise JobExists(home.name) from None
        raise


def _inspect(folder: Path, made: Made) -> MadeVariant:
    """Inspect a variant and make its bytes durable. They are served from the file that is hashed here."""
    with claimed_file(folder, made) as descriptor:
        digest, size = hashlib.sha256(), 0
        for piece in pieces(descriptor):
            digest.update(piece)
            size += len(piece)
        os.fsync(descriptor)
        return made_variant(made, size, digest.hexdigest())
