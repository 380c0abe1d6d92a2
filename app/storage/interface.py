# size: the whole contract of a store in one place
"""What a store is: the protocol that directory and bucket implement, and the errors that stores raise.

A store keeps the uploads (sources), the variants made of them, and one record per job. The record is the
only truth about a job: a job exists when, and only when, its record does. Everything else that a store keeps
can be found again, or made again, from the records and the sources.

The life of a job, as calls to its store:

    await open(), await survey()        once, when the process starts
    space = reserve(size)               before the body is read: guard 6 of the admission
    spool = await spool(id)             await spool.write(data) for every piece of the body
    await accept(spool, job)            from here on the job survives a crash; then space.release()
    folder = await workspace(id)        where a worker may write
    source = await fetch(job, folder)   the file that the worker decodes
    await take_variants(job, folder, …) what the worker made, inspected and durable
    await save(job)                     the record that says so; when it is final, the source is removed
    await drop_workspace(folder)
    await load(id), await blob(job, …)  for whoever asks for the image
    await delete(id), or sweep()        by its owner, or when its retention is over

To write another store: subclass `app.storage.base.StoreBase`, which has the parts that do not depend on where
the bytes are; gather uploads with `app.storage.spool.FileSpool` and inspect what workers made with
`app.storage.verify`; build it in `app.factory.make_store`; add it to the fixtures `kind` and `files` of
`tests/storage/conftest.py`, so that `test_every_store*.py` and `test_keys.py` hold it to all of this.

Every method may be called from several tasks at once. None may block the event loop: blocking calls belong
into threads (`StoreBase.write_in_thread`). Where a method says that something is durable, it has survived a
power failure at any later moment. Whatever a method cannot do now is a `StoreUnavailable` or another
OSError; callers catch OSError and try again later, so a method that failed must leave the job as it was.
"""

from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from app.job import Job, MadeVariant
from workers.messages import Made

SIGNED_URL_LIFETIME_S: Final = 600
"""The longest life of an address that a store signs, in seconds."""

PROVISIONAL_LIFETIME_S: Final = 60
"""Seconds for which caches may keep a provisional variant."""


class StoreUnavailable(OSError):
    """Raised when the store cannot do now what it was asked for; the same call may succeed later.

    It is an OSError so that a store may let those of the operating system pass as they are: callers catch
    OSError, and what was accepted is tried again.
    """


class StoreFull(StoreUnavailable):
    """Raised when there is no room: by the limit of the settings, or because a disk or a quota is full.

    A store that is full still reads and deletes, so a circuit breaker around it does not count this.
    """


class StoreUnusable(Exception):
    """Raised at the start when the store cannot be used at all; the message is one line for the operator."""


class VariantRejected(Exception):
    """Raised when a file that a worker claims to have made is missing, or is not what the worker says."""


class JobGone(Exception):
    """Raised when the files of a job were removed while it was under way, by a deletion or by hand."""


class JobExists(Exception):
    """Raised when a job with the same id has been accepted already."""


class EventNotKept(OSError):
    """Raised when an event cannot be kept now, so what it tells of must not happen: nothing was changed."""


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """Bytes kept, bytes reserved for uploads on their way in, and the limit for the sum of both."""

    used_bytes: int
    reserved_bytes: int
    max_bytes: int


class Space(Protocol):
    """Bytes reserved for one upload, from its admission until it is accepted or given up."""

    def release(self) -> None:
        """End the reservation. A second call does nothing."""


class Spool(Protocol):
    """The bytes of one upload while it arrives, in a file of this machine."""

    async def write(self, data: bytes | memoryview) -> None:
        """Append bytes, of which a view is not valid after that.

        Raises:
            StoreFull: the disk has no room for them.
            OSError: the disk cannot be written.
        """

    async def restart(self) -> None:
        """Forget the bytes so far: those that follow are another file. Raises OSError."""

    async def discard(self) -> None:
        """Remove the upload. Does nothing after the first call, or when the upload was accepted."""


class Blob(Protocol):
    """One open variant, which can be read to its end even if it is deleted meanwhile."""

    async def read(self, offset: int, length: int) -> bytes:
        """At least one and at most `length` bytes from `offset` on; none only at or beyond the end.

        Raises:
            OSError: it cannot be read now.
        """

    def close(self) -> None:
        """Release the file or the connection behind it."""


class Signer(Protocol):
    """Signs addresses at which a store's variants can be read without the service."""

    async def sign(self, job: Job, variant: str, method: Literal["GET", "HEAD"], lifetime_s: int) -> str:
        """A URL of a variant, for requests of this method in the next `lifetime_s` seconds.

        Whether the file is there is not looked at.

        Raises:
            OSError: it cannot be signed now.
        """

    def origin(self) -> str:
        """The scheme, host and port of such URLs; empty if they are not known."""


class KeptDocuments(Protocol):
    """Small documents by name (letters, digits and `_`), which are not counted as space.

    Every method raises OSError when it cannot be done now.
    """

    async def keep(self, name: str, data: bytes) -> None:
        """Keep a document, durably, in the place of an earlier one of the same name."""

    async def read(self, name: str) -> bytes | None:
        """A document; None when there is none."""

    async def forget(self, name: str) -> None:
        """Remove a document, not durably: after a power failure it may be there again."""

    async def oldest(self, limit: int) -> tuple[list[tuple[float, str]], int]:
        """The oldest documents, at most `limit`, as (kept at, name); and how many there are in all."""


class Store(Protocol):
    """Keeps sources, variants and records; the module's docstring has the order of the calls."""

    retention: float
    """Seconds for which a job is kept once it is final; infinite where images are kept for good."""

    signer: Signer | None
    """What signs addresses of variants; None if nothing of the store can be read without the service."""

    @property
    def events(self) -> KeptDocuments:
        """The events that wait to be delivered."""

    async def is_spent(self, job_id: str) -> bool:
        """Whether a single-use ticket with this job's id was used for an image that has been removed since.

        Raises:
            OSError: it cannot be told now.
        """

    expiring: Callable[[Job], AbstractAsyncContextManager[None]]
    """Entered before a job is removed because its retention is over, and left afterwards. It does nothing
    unless it is set. When it raises EventNotKept the job is not removed."""

    # --- start and stop --------------------------------------------------------------------------------

    async def check(self) -> str:
        """Try whether `open()` would succeed, and change nothing; one line on what was found.

        Called instead of `open()`. The store may be in use by another process.

        Raises:
            StoreUnusable: it would not.
        """

    async def open(self) -> None:
        """Make the store ready to be read and images to be deleted. Nothing else is called before it.

        Removes what an earlier process left half done (spools and workspaces) and makes the secret where
        there is none: 32 random bytes that stay with the store for its life. It is quick, whatever is kept.

        Raises:
            StoreUnusable: it cannot be used; another process has it, say, or it cannot be reached.
        """

    async def survey(self) -> None:
        """Count what is kept and look for unfinished jobs, which may take a minute; once, after `open()`.

        Before it has ended, images are served and deleted, but uploads are neither reserved nor accepted.

        Raises:
            StoreUnusable: the store cannot be read.
        """

    async def close(self) -> None:
        """End what is under way and release everything. Nothing is called after it."""

    def pending(self, except_for: Container[str] = ()) -> AsyncIterator[Job]:
        """Every accepted job that is not final, oldest first: what a start has to bring to an end.

        Those with an id in `except_for` are left out, and their records are not read.
        A job whose record cannot be read but whose source is there is given with `wanted=()`, that is, all
        variants of the settings, and gets a new record: better to make too much than to lose the upload.
        The source of a final job, which a crash may have left, is removed on the way.

        Raises:
            StoreUnusable, OSError: the store cannot be read.
        """

    async def load_state(self) -> bytes | None:
        """The bytes that the last `save_state()` wrote, removed as they are read; None when there are none.

        The caller checks them: they come from outside the process. What cannot be read is None, because no
        state is worth keeping the service from starting.
        """

    async def save_state(self, data: bytes) -> None:
        """Keep a few kilobytes for the next process, readable by nobody else. Replaces what was kept.

        Raises:
            OSError: they could not be written.
        """

    # --- what is derived from the secret ---------------------------------------------------------------

    def delete_token(self, job_id: str) -> str:
        """The token that proves the right to delete a job: an HMAC of its id, so none has to be stored."""

    def id_of_key(self, client: str, key: str) -> str:
        """The id of the job that belongs to a client's Idempotency-Key: an HMAC of both."""

    # --- uploads ---------------------------------------------------------------------------------------

    def reserve(self, size: int) -> Space:
        """Reserve bytes for an upload.

        Raises:
            StoreFull: the bytes kept and reserved would be more than the limit.
        """

    async def spool(self, job_id: str) -> Spool:
        """A new spool for the bytes of an upload. Writes nothing yet."""

    async def accept(self, spool: Spool, job: Job) -> None:
        """Make an upload and its record durable, in one step: after a crash there is both or neither.

        Sets the digest of the job. `spool` is one of this store's own, and is still to be discarded. A final
        job of the same id whose retention is over makes way, though it has not been swept yet.

        Raises:
            JobExists: there is a job of this id, and it stays as it is; or `is_spent`.
            StoreFull: the disk or the quota is full.
            OSError: it could not be written, or the job in its way not removed.
        """

    # --- work ------------------------------------------------------------------------------------------

    async def workspace(self, job_id: str) -> Path:
        """A new, empty folder for a worker to write into. One job may have several, one after the other.

        Raises:
            OSError: it could not be made.
        """

    async def fetch(self, job: Job, folder: Path) -> Path:
        """The source as a file for a worker, which is there for as long as its workspace `folder` is.

        Raises:
            JobGone: there is no source any more.
            OSError: it cannot be read now.
        """

    async def take_variants(self, job: Job, folder: Path, made: Sequence[Made]) -> dict[str, MadeVariant]:
        """Move what a worker made from its workspace into the store, durably; the variants by name.

        Nothing about the files is believed, because the worker may have been taken over by the image that it
        decoded: they are opened without following links, checked for their format's first bytes, and size
        and digest are those of the very bytes that will be served. If one is rejected, none is taken.
        Variants of an earlier attempt are replaced. They are served only once a record names them. A
        provisional variant has a file of its own beside that of the true one.

        Raises:
            VariantRejected: a file is missing or not what `made` says; the worker is to blame.
            JobGone: the job has been removed, or finished by another process.
            StoreFull, OSError: they could not be kept, for which the worker is not to blame.
        """

    async def drop_workspace(self, folder: Path) -> None:
        """Remove a workspace with everything in it."""

    async def save(self, job: Job) -> None:
        """Replace the job's record, durably. When the job is final, its source is removed afterwards.

        Of a job that keeps its original, the source becomes that. Provisional variants that true ones have
        replaced are removed as well (`Job.replaced_files`).

        Raises:
            JobGone: the job has been removed; it is not brought back.
            StoreFull, OSError: the record is what it was.
        """

    async def reopen(self, job: Job) -> None:
        """Have a final job that keeps its original make more variants: its original is its source again.

        `job` is the job with the variants deferred that are to be made, in the next run after that of the
        record, which it replaces, durably. After a crash at any moment there is the old record or the new
        one, with the original or the source that belongs to it.

        Raises:
            JobGone: the job has been removed or has expired, or is not what it was before this run.
            StoreFull, OSError: the record is what it was.
        """

    # --- reading ---------------------------------------------------------------------------------------

    async def load(self, job_id: str, *, fresh: bool = False) -> Job | None:
        """The job of a record; None when there is none, it is damaged, or its retention is over.

        Any string may be asked for: what is no id is None. Unless it is to be `fresh`, a final job may come
        from memory, but if another process deletes it, it must be gone here within two seconds.

        Raises:
            OSError: it cannot be read now.
        """

    async def blob(self, job: Job, variant: str, span: tuple[int, int] | None = None) -> Blob | None:
        """Open a variant for reading.

        `span` tells the first and last byte that will be read, so that no more is transferred. None when the
        file is gone or has another size than the record says.

        Raises:
            OSError: it cannot be read now.
        """

    async def original(self, job: Job, span: tuple[int, int]) -> Blob | None:
        """Open the upload of a job that keeps it, as `blob()` does a variant. None when it is gone.

        Raises:
            OSError: it cannot be read now.
        """

    def expires_at(self, job: Job) -> float | None:
        """When the retention of a job is over, in seconds since the epoch.

        None while it is not final, and if it is kept for good.
        """

    # --- removal ---------------------------------------------------------------------------------------

    async def delete(self, job_id: str) -> None:
        """Remove a job with all of its files. Does nothing when there is none.

        Nobody sees half of it removed: once this has begun, `load()` gives None.

        Raises:
            ValueError: this is no id.
            OSError: it could not be removed, and is there as before or is removed by a later sweep.
        """

    async def sweep(self) -> int:
        """Remove jobs whose retention is over, and files without a job; the number of jobs removed.

        Called about once a minute. Where that is too often for a full pass, it may do nothing. It also
        corrects the count of bytes where others write to the store.

        Raises:
            OSError: it could not go on; the next call begins anew.
        """

    def snapshot(self) -> StoreSnapshot:
        """How many bytes are kept and reserved now."""
