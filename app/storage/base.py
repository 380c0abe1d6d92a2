"""What every store shares, wherever its bytes are: the secret, the count of bytes, retention and threads."""

import hashlib
import hmac
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from app.job import Job, JobStatus, id_of_key
from app.runtime.sizes import format_size
from app.storage.interface import JobExists, KeptDocuments, Signer, StoreFull, StoreSnapshot

P = ParamSpec("P")
T = TypeVar("T")

SECRET_BYTES = 32
FAILURES_KEPT_S = 86_400.0
"""Seconds for which failed jobs are kept where images are kept for good. Their records count to no limit, so
broken uploads could fill the disk with them."""
SPENT_KEPT_S = 86_400.0 + 300.0
"""Seconds for which a used ticket is remembered: as long as one is good, with what clocks may differ."""
_MAX_FORGOTTEN = 1000
"""Used tickets that one sweep forgets."""
MAX_WRITER_THREADS = 16
"""Threads that write at once. Some of them wait for fsync while others take what the network brings."""


def shortest_life(retention: float) -> float:
    """Seconds for which any final job is kept, if images are for `retention` seconds, or for good (inf)."""
    return FAILURES_KEPT_S if math.isinf(retention) else retention


class StoreBase:
    """The methods of a store that do not depend on where its bytes are."""

    signer: Signer | None = None

    def __init__(self, max_bytes: int, retention: float, clock: Callable[[], float] = time.time) -> None:
        """Keeps about `max_bytes`, and each job for `retention` seconds after it is final, or for good.

        `clock` gives seconds since the epoch.
        """
        self.retention = retention
        self._shortest_life = shortest_life(retention)
        self._clock = clock
        self._space = SpaceAccount(max_bytes)
        self._secret = b""
        """Set by `open()`."""
        self._writers = CapacityLimiter(MAX_WRITER_THREADS)
        self.expiring: Callable[[Job], AbstractAsyncContextManager[None]] = lambda _: nullcontext()
        self.spent: KeptDocuments
        """Used single-use tickets whose images were removed, by the ids of the jobs."""

    async def write_in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call that writes to the disk, in one of the writers' threads."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._writers)

    def reserve(self, size: int) -> "ReservedSpace":
        return self._space.reserve(size)

    def snapshot(self) -> StoreSnapshot:
        return self._space.snapshot()

    def delete_token(self, job_id: str) -> str:
        return hmac.new(self._secret, job_id.encode(), hashlib.sha256).hexdigest()

    def id_of_key(self, client: str, key: str) -> str:
        return id_of_key(self._secret, client, key)

    def expires_at(self, job: Job) -> float | None:
        if not job.is_final or job.finished_at is None:
            return None
        life = self._shortest_life if job.status == JobStatus.FAILED else self.retention
        return None if math.isinf(life) else max(job.finished_at, job.completed_at or 0.0) + life

    def _is_expired(self, job: Job) -> bool:
        end = self.expires_at(job)
        return end is not None and end <= self._clock()

    # A job that came by a single-use ticket has the id that belongs to the ticket, so there is no second one
    # while its record is there. If that is removed while the ticket could still be used, a document remains.

    async def is_spent(self, job_id: str) -> bool:
        return await self.spent.read(job_id) is not None

    def _has_live_ticket(self, job: Job) -> bool:
        return job.ticket_until is not None and job.ticket_until > self._clock()

    def _makes_way(self, job: Job) -> bool:
        """Whether a new upload may take the place of this job."""
        return self._is_expired(job) and not self._has_live_ticket(job)

    async def _keep_spent(self, job: Job | None) -> None:
        """To be called before a job is removed: it remains known that its ticket was used. Raises OSError."""
        if job is not None and self._has_live_ticket(job):
            await self.spent.keep(job.id, b"")

    async def _check_unspent(self, job: Job) -> None:
        """To be called after a job was accepted: another one of its ticket may have been removed just now.

        Raises:
            JobExists: it was, and this one is removed too.
        """
        if job.ticket_until is not None and await self.is_spent(job.id):
            await self.delete(job.id)
            raise JobExists(job.id)

    @asynccontextmanager
    async def _expiring(self, job: Job) -> AsyncIterator[None]:
        """Surrounds the removal of a job whose retention is over. Raises EventNotKept, OSError."""
        await self._keep_spent(job)
        async with self.expiring(job):
            yield

    async def _forget_spent(self) -> None:
        """Forget tickets that have expired. Raises OSError."""
        kept, _ = await self.spent.oldest(_MAX_FORGOTTEN)
        for kept_at, name in kept:
            if kept_at < self._clock() - SPENT_KEPT_S:
                await self.spent.forget(name)

    async def delete(self, job_id: str) -> None:
        """As in `app.storage.interface.Store`."""
        raise NotImplementedError


class ReservedSpace:
    """Bytes reserved for one upload."""

    def __init__(self, account: "SpaceAccount", size: int) -> None:
        self._account = account
        self._size = size

    def release(self) -> None:
        """End the reservation. A second call does nothing."""
        self._account.reserved -= self._size
        self._size = 0


class SpaceAccount:
    """Counts the bytes that a store keeps and those reserved for uploads, against one limit for both.

    Records are not counted. The store adds to `used` and subtracts from it; while it awaits something, other
    tasks do so too. Therefore `account.used -= freed` with `freed` from a line of its own: `used -= await …`
    would read `used` before it waits and overwrite what was counted meanwhile.
    """

    def __init__(self, max_bytes: int) -> None:
        self.used = 0
        self.reserved = 0
        self.recount_wanted = False
        """Whether the next sweep is to count what is there: an upload was refused, and files may have been
        removed by hand or by other processes, or a call failed half way."""
        self._max_bytes = max_bytes

    def reserve(self, size: int) -> ReservedSpace:
        """Reserve bytes for an upload.

        Raises:
            StoreFull: there are not so many left.
        """
        if self.used + self.reserved + size > self._max_bytes:
            self.recount_wanted = True
            raise StoreFull(f"{format_size(self.used)} of {format_size(self._max_bytes)} are used")
        self.reserved += size
        return ReservedSpace(self, size)

    def snapshot(self) -> StoreSnapshot:
        """The count now."""
        return StoreSnapshot(self.used, self.reserved, self._max_bytes)


def parse_record(job_id: str, record: bytes) -> Job | None:
    """The job of a record, or None when the record is damaged or belongs to another job."""
    try:
        job = Job.from_record(record)
    except ValueError:
        return None
    return job if job.id == job_id else None
