"""A store in a bucket of an S3 server, which any number of replicas may share.

    secret                  32 random bytes: the key of the delete tokens, the same for all replicas
    note                    what a process leaves for the next one; read once
    probe                   written by each start, to find out whether the server does what is needed
    records/<id>.json       the record of a job: there is a job when, and only when, this is there
    sources/<id>            its upload, until it is final
    images/<id>/<file>      its variants

An upload is gathered in a file of this machine and sent as source; then its record is created, and with that
it is accepted. A record is replaced only in place of a known version, so no late worker brings a deleted job
back; removal begins with it. What a crash leaves without a record is swept when it is an hour old.

Replicas need one engine for all: of two `local:` engines on one prefix, each takes up at its start what the
other has under way. Bytes are counted by each replica, and the others' within the hour, so `max_bytes` may be
passed by what came in meanwhile.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread

from app.job import Job, MadeVariant, is_id
from app.storage.base import StoreBase
from app.storage.interface import JobExists, JobGone, Spool, StoreError
from app.storage.s3.client import S3Client
from app.storage.s3.download import Download
from app.storage.s3.inventory import IMAGES
from app.storage.s3.records import Records
from app.storage.s3.scratch import Scratch
from app.storage.s3.setup import probe, shared_secret
from app.storage.s3.sources import SOURCES, Sources
from app.storage.s3.sweep import Sweep
from app.storage.spool import SOURCE, FileSpool
from app.storage.verify import plain_file, variant_of
from workers.messages import Made

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_COUNT_PATIENCE = 2.0
"""Seconds for which a start waits for the first count; a large store is counted beside the work."""


class S3Store(StoreBase):
    """The store of many machines: see the module for its layout."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        max_bytes: int,
        retention: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keeps about `max_bytes`, each finished job for `retention` seconds of `clock`'s time."""
        super().__init__(max_bytes, retention, clock)
        self._remote = S3Client(bucket, prefix)
        self._scratch = Scratch()
        self._records = Records(self._remote, clock)
        self._sources = Sources(self._remote, self.writing)
        self._stocktaking = Sweep(self._remote, self._records, retention, self._expired, clock)
        self._stock_due = 0.0
        self._counting: asyncio.Task[None] | None = None

    async def writing(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call on the scratch folder in a thread."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._threads)

    # --- life ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._threads = CapacityLimiter(8)
        try:
            self._remote.connect()
            await probe(self._remote)
            self._secret = await shared_secret(self._remote)
            await self.writing(self._scratch.open)
        except OSError as error:
            raise self._unusable(error) from None
        self._counting = asyncio.create_task(self._count(), name="first inventory")
        await asyncio.wait({self._counting}, timeout=_COUNT_PATIENCE)

    def _unusable(self, error: OSError) -> StoreError:
        hint = "" if os.environ.get("AWS_ACCESS_KEY_ID") else " (AWS_ACCESS_KEY_ID is not set)"
        return StoreError(f"the store {self._remote} cannot be used: {error.strerror or error}{hint}")

    async def close(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.wait({self._counting})
        await self.writing(self._scratch.close)

    async def load_state(self) -> bytes | None:
        try:
            data, _ = await self._remote.get("note")
            await self._remote.delete(["note"])
        except OSError:
            return None
        return data

    async def save_state(self, data: bytes) -> None:
        await self._remote.put("note", data)

    async def pending(self) -> AsyncIterator[Job]:
        try:
            async for job in self._unfinished():
                yield job
        except OSError as error:
            raise self._unusable(error) from None

    async def _unfinished(self) -> AsyncIterator[Job]:
        sources = [item async for item in self._remote.list(SOURCES)]
        for item in sorted(sources, key=lambda item: item.written_at):
            job_id = item.name.removeprefix(f"{SOURCES}/")
            if not is_id(job_id):
                continue
            try:
                job = await self._records.read(job_id)
            except FileNotFoundError:  # never accepted, or deleted since
                continue
            if job is None:
                # The record is damaged but the photo is there: make everything of it rather than lose it.
                job = Job(job_id, item.written_at, item.size, wanted=())
                with suppress(JobGone):
                    await self.save(job)
                    yield job
            elif job.is_final:  # the server died between the record and the removal of the source
                await self._drop_source(job)
            else:
                yield job

    # --- uploads ---------------------------------------------------------------------------------------

    async def spool(self, job_id: str) -> FileSpool:
        return FileSpool(self._scratch.spool / job_id, self.writing)

    async def accept(self, spool: Spool, job: Job) -> None:
        assert isinstance(spool, FileSpool)  # noqa: S101 - a store is given its own spools only
        folder, _ = await self.writing(spool.gathered)
        await self._sources.send(job, folder / SOURCE)
        try:
            await self._records.create(job)
        except FileExistsError:
            await self._make_way(job.id)
            await self._records.create(job)
        self._space.used += job.size
        await self._sources.keep(job, folder / SOURCE, self._scratch.kept / job.id)

    async def _make_way(self, job_id: str) -> None:
        """Remove a job that is over but not swept yet: its key may stand for another. Raises JobExists."""
        with suppress(FileNotFoundError):
            there = await self._records.read(job_id)
            if there is None or not self._expired(there):
                raise JobExists(job_id)
        await self._records.remove(job_id)
        await self._remove_images(job_id)

    # --- work ------------------------------------------------------------------------------------------

    async def workspace(self, job_id: str) -> Path:
        folder = self._scratch.work / f"{job_id}-{secrets.token_hex(4)}"
        await self.writing(folder.mkdir)
        return folder

    async def fetch(self, job_id: str, folder: Path) -> Path:
        path = _beside(folder)
        await self._sources.fetch(job_id, path)
        return path

    async def drop_workspace(self, folder: Path) -> None:
        await self.writing(_drop, folder)

    async def take_variants(self, job: Job, folder: Path, made: Sequence[Made]) -> dict[str, MadeVariant]:
        adopted = await self.writing(_inspect, folder, made)
        puts = (self._remote.put(_image(job.id, variant.file), data) for variant, data in adopted.values())
        await asyncio.gather(*puts)
        self._space.used += sum(variant.size for variant, _ in adopted.values())
        return {name: variant for name, (variant, _) in adopted.items()}

    async def save(self, job: Job) -> None:
        try:
            await self._records.replace(job)
        except JobGone:
            with suppress(OSError):
                await self._remove_remains(job.id)
            raise
        if job.is_final:
            await self._drop_source(job)

    async def _drop_source(self, job: Job) -> None:
        """Remove the upload of a final job; what cannot be removed now is left to the sweep."""
        try:
            await self._sources.remove(job.id)
        except OSError as error:
            log.warning("source of an ended job not removed yet", job=job.id, reason=str(error))
        else:
            self._space.used -= job.size

    # --- reading ---------------------------------------------------------------------------------------

    async def load(self, job_id: str) -> Job | None:
        if not is_id(job_id):
            return None
        try:
            job = await self._records.recall(job_id)
        except FileNotFoundError:
            return None
        return None if job is None or self._expired(job) else job

    async def blob(self, job: Job, variant: str, span: tuple[int, int] | None = None) -> Download | None:
        made = job.made[variant]
        first, last = span or (0, made.size - 1)
        try:
            download = await self._remote.download(_image(job.id, made.file), first, last)
        except FileNotFoundError:
            return None
        if download.size != made.size:  # replaced by hand
            download.close()
            return None
        return download

    # --- removal ---------------------------------------------------------------------------------------

    async def delete(self, job_id: str) -> None:
        """The record goes first, so that nobody is served a part."""
        job = None
        with suppress(FileNotFoundError):
            job = await self._records.read(job_id)
        await self._records.remove(job_id)
        await self._remove_images(job_id)
        await self._sources.remove(job_id)
        self._space.used -= job.size if job is not None and not job.is_final else 0

    async def _remove_images(self, job_id: str) -> None:
        images = [item async for item in self._remote.list(f"{IMAGES}/{job_id}")]
        await self._remote.delete([item.name for item in images])
        self._space.used -= sum(item.size for item in images)

    async def _remove_remains(self, job_id: str) -> None:
        """Remove what was made for a job while it was deleted, unless its id is another's by now."""
        try:
            await self._records.read(job_id)
        except FileNotFoundError:
            await self._remove_images(job_id)

    async def sweep(self) -> int:
        if self._space.doubted:
            self._space.doubted = False
            self._stock_due = min(self._stock_due, self._clock() + 60)
        counting = self._counting is not None and not self._counting.done()
        return 0 if counting or self._clock() < self._stock_due else await self._take_stock()

    async def _take_stock(self) -> int:
        """Remove what is over, and count what is left, other replicas' included; the jobs removed.

        Every name there is has to be read for it, so it is done once an hour, or in a 24th of the retention;
        less often where it takes more than a twentieth of that.
        """
        before, removed, began = self._space.used, 0, self._clock()
        async for stock in self._stocktaking.over():
            await self._records.remove(stock.id)
            await self._remote.delete(stock.files())
            removed += stock.record is not None
        self._space.used += self._stocktaking.found - before
        now = self._clock()
        self._stock_due = now + max(min(3600.0, self.retention / 24), 20 * (now - began))
        return removed

    async def _count(self) -> None:
        try:
            await self._take_stock()
        except OSError as error:  # the sweep tries again
            log.error("store could not be counted", reason=str(error))


def _beside(folder: Path) -> Path:
    """Where the source for a workspace is."""
    return folder.with_suffix(f".{SOURCE}")


def _drop(folder: Path) -> None:
    """Blocking: remove a workspace and the source for it."""
    shutil.rmtree(folder, ignore_errors=True)
    _beside(folder).unlink(missing_ok=True)


def _inspect(folder: Path, made: Sequence[Made]) -> dict[str, tuple[MadeVariant, bytes]]:
    """Blocking: variants and their bytes, which are read once and so are the ones that were inspected."""
    inspected = {}
    for item in made:
        with plain_file(folder, item) as file:
            data = file.read()
        inspected[item.name] = variant_of(item, len(data), hashlib.sha256(data).hexdigest()), data
    return inspected


def _image(job_id: str, file: str) -> str:
    return f"{IMAGES}/{job_id}/{file}"
