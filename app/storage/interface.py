"""The store: where bytes live. A protocol, so that a directory and a bucket look alike from outside."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.job import Job, MadeVariant
from workers.messages import Made


class StoreUnavailable(OSError):
    """Raised when the store cannot do now what it was asked for; the same call may succeed later.

    It is an OSError so that a store may let those of the operating system pass as they are: callers catch
    OSError, and what was accepted is tried again.
    """


class StoreFull(StoreUnavailable):
    """Raised when there is no room: by the limit of the settings, or because a disk or a quota is full.

    A store that is full still reads and deletes, so a circuit breaker around it does not count this.
    """


class StoreError(Exception):
    """Raised when the store cannot be used at all; its message is one clear line."""


class VariantRejected(Exception):
    """Raised when what a worker claims to have made is not there, or not what it claims."""


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """Bytes kept, bytes promised to uploads on their way in, and the limit for both."""

    used_bytes: int
    reserved_bytes: int
    max_bytes: int


class JobGone(Exception):
    """Raised when somebody has removed a job's files by hand while it was under way."""


class JobExists(Exception):
    """Raised when there is a job of that id already."""


class Space(Protocol):
    """Bytes promised to one upload until they are settled."""

    def release(self) -> None:
        """Give the promise back; harmless when called again."""


class Spool(Protocol):
    """One upload's bytes on their way in, on the file system of the store."""

    async def write(self, data: bytes) -> None:
        """Append bytes. Raises StoreFull when the disk is."""

    async def discard(self) -> None:
        """Remove every trace; harmless when called again or after the upload was accepted."""


class Blob(Protocol):
    """One open variant."""

    async def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, at most `length`; none only beyond the end."""

    def close(self) -> None:
        """Let go of it."""


class Store(Protocol):
    """Where sources, variants and job records live. The record is the only truth about a job."""

    retention: float
    """Seconds for which a job is kept once nothing more is promised of it."""

    async def open(self) -> None:
        """Make ready. Raises StoreError when it cannot be used."""

    async def close(self) -> None:
        """Finish what is under way and let go."""

    async def load_state(self) -> bytes | None:
        """What an earlier process left a note of, once; not to be trusted. None when it did not."""

    async def save_state(self, data: bytes) -> None:
        """Keep a few bytes for the next process. Raises OSError."""

    def delete_token(self, job_id: str) -> str:
        """The token that proves the right to delete a job: an HMAC of its id, never kept."""

    def id_of_key(self, client: str, key: str) -> str:
        """The id of the job that a client's Idempotency-Key stands for: an HMAC of both, never kept."""

    def reserve(self, size: int) -> Space:
        """Promise bytes to an upload. Raises StoreFull."""

    async def spool(self, job_id: str) -> Spool:
        """A place for the bytes of an upload."""

    async def accept(self, spool: Spool, job: Job) -> None:
        """Make an upload durable: when this returns, the job survives everything. Raises JobExists."""

    async def workspace(self, job_id: str) -> Path:
        """A new, empty folder for a worker to write into."""

    async def fetch(self, job_id: str, folder: Path) -> Path:
        """The file that a worker decodes, there as long as its workspace `folder` is. Raises JobGone."""

    async def take_variants(self, job: Job, folder: Path, made: Sequence[Made]) -> dict[str, MadeVariant]:
        """Take over what a worker wrote, durably, trusting nothing. Raises VariantRejected, JobGone."""

    async def drop_workspace(self, folder: Path) -> None:
        """Remove a worker's folder."""

    async def save(self, job: Job) -> None:
        """Write the record durably; a final job's source goes. Raises JobGone."""

    async def load(self, job_id: str) -> Job | None:
        """The job of a record, or None when there is none or its retention is over."""

    async def blob(self, job: Job, variant: str, span: tuple[int, int] | None = None) -> Blob | None:
        """Open a variant, or None when its file is gone; of `span` (first and last byte) it is to be read."""

    async def delete(self, job_id: str) -> None:
        """Remove a job and every file of it; harmless when there is none."""

    def pending(self) -> AsyncIterator[Job]:
        """Jobs that were accepted and are not final, oldest first. Raises StoreError, OSError."""

    def expires_at(self, job: Job) -> float | None:
        """When the retention of a job is over, seconds since the epoch; None while it is not final."""

    async def sweep(self) -> int:
        """Remove what has expired; the number of jobs removed."""

    def snapshot(self) -> StoreSnapshot:
        """How much is kept."""
