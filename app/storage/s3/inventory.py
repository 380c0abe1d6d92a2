"""The inventory of a store in a bucket: what there is, job by job."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.job import ID_LENGTH, is_id
from app.storage.s3.client import ObjectInfo, S3Client
from app.storage.s3.records import RECORDS
from app.storage.s3.sources import SOURCES

IMAGES = "images"


@dataclass(frozen=True, slots=True)
class StoredJob:
    """What is there of one job."""

    id: str
    record: ObjectInfo | None
    source: ObjectInfo | None
    images: tuple[ObjectInfo, ...]

    @property
    def size(self) -> int:
        """Bytes, the record aside."""
        return sum(item.size for item in self._files())

    @property
    def written_at(self) -> float:
        """When the last of its files was written, the record aside; 0 when there is none."""
        return max((item.written_at for item in self._files()), default=0.0)

    def files(self) -> list[str]:
        """The names of its files, the record aside."""
        return [item.name for item in self._files()]

    def _files(self) -> tuple[ObjectInfo, ...]:
        return (*self.images, self.source) if self.source is not None else self.images


class _Shelf:
    """One listing, read item by item; names that are no job's are passed over."""

    def __init__(self, items: AsyncIterator[ObjectInfo], folder: str) -> None:
        self._items = items
        self._start = len(folder) + 1
        self._item: ObjectInfo | None = None
        self.id: str | None = None

    async def advance(self) -> None:
        """Go on to the next item."""
        async for item in self._items:
            name = item.name[self._start : self._start + ID_LENGTH]
            if is_id(name):
                self._item, self.id = item, name
                return
        self._item = self.id = None

    async def take(self, job_id: str) -> list[ObjectInfo]:
        """The items of a job, if it is the next one's."""
        taken = []
        while self.id == job_id and self._item is not None:
            taken.append(self._item)
            await self.advance()
        return taken


async def inventory(remote: S3Client) -> AsyncIterator[StoredJob]:
    """Every job of which there is anything, in the order of the ids.

    S3 lists names in order, so the three listings are read side by side, in memory that does not grow.
    Raises OSError.
    """
    shelves = [_Shelf(remote.list(folder), folder) for folder in (RECORDS, SOURCES, IMAGES)]
    for shelf in shelves:
        await shelf.advance()
    while ids := [shelf.id for shelf in shelves if shelf.id is not None]:
        job_id = min(ids)
        records, sources, images = [await shelf.take(job_id) for shelf in shelves]
        yield StoredJob(job_id, next(iter(records), None), next(iter(sources), None), tuple(images))
