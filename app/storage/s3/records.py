"""The records of a store in a bucket: there is a job when, and only when, there is its record."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from app.job import Job, is_id
from app.storage.interface import JobGone
from app.storage.s3.client import ObjectChanged, S3Client

T = TypeVar("T")

RECORDS = "records"
_REMEMBERED = 1024
_FRESH = 2.0
"""Seconds for which a final record is not read again: so long a deletion elsewhere may go unnoticed."""
_TRIES = 5


def record_name(job_id: str) -> str:
    """Where a record is. Raises ValueError for what is no id."""
    if not is_id(job_id):
        raise ValueError("not an id")
    return f"{RECORDS}/{job_id}.json"


class Records:
    """Creates and replaces records, each on condition of the version it knows."""

    def __init__(self, remote: S3Client, clock: Callable[[], float]) -> None:
        """`clock` in seconds."""
        self._remote = remote
        self._clock = clock
        self._versions: OrderedDict[str, str] = OrderedDict()
        self._finals: OrderedDict[str, tuple[float, Job]] = OrderedDict()

    async def create(self, job: Job) -> None:
        """Write the record of a new job, with which it is accepted. Raises FileExistsError, OSError."""
        version = await self._remote.create(record_name(job.id), job.to_record())
        _remember(self._versions, job.id, version)
        self._finals.pop(job.id, None)

    async def read(self, job_id: str) -> Job | None:
        """The job of a record; None when it is damaged. Raises FileNotFoundError, OSError."""
        data, version = await self._remote.get(record_name(job_id))
        job = _job(job_id, data)
        if job is not None and not job.is_final:  # whoever reads it may be about to write what becomes of it
            _remember(self._versions, job_id, version)
        return job

    async def recall(self, job_id: str) -> Job | None:
        """The same, from memory where the job was final two seconds ago or less."""
        read_at, job = self._finals.get(job_id, (0.0, None))
        if job is not None and 0 <= self._clock() - read_at < _FRESH:
            return job
        self._finals.pop(job_id, None)
        job = await self.read(job_id)
        if job is not None and job.is_final:
            _remember(self._finals, job_id, (self._clock(), job))
        return job

    async def replace(self, job: Job) -> None:
        """Write a record in place of the one there is: a late worker brings no deleted job back.

        Raises:
            JobGone: there is none any more.
            OSError: it could not be written.
        """
        name, record = record_name(job.id), job.to_record()
        version = self._versions.pop(job.id, None)
        for _ in range(_TRIES):
            try:
                if version is None:
                    there, version = await self._remote.get(name)
                    if there == record:  # by a try whose answer did not come
                        return
                    other = _job(job.id, there)
                    if other is not None and other.created_at != job.created_at:
                        raise JobGone(job.id)  # and its id is another's by now
                _remember(self._versions, job.id, await self._remote.replace(name, record, version))
            except FileNotFoundError:
                raise JobGone(job.id) from None
            except ObjectChanged:
                version = None
            else:
                return
        raise ObjectChanged(f"the record of {job.id} is being written by others")

    async def remove(self, job_id: str) -> None:
        """Remove a record; harmless when there is none."""
        await self._remote.delete([record_name(job_id)])
        self._versions.pop(job_id, None)
        self._finals.pop(job_id, None)


def _job(job_id: str, record: bytes) -> Job | None:
    try:
        job = Job.from_record(record)
    except ValueError:
        return None
    return job if job.id == job_id else None


def _remember(memory: OrderedDict[str, T], job_id: str, value: T) -> None:
    memory[job_id] = value
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)
