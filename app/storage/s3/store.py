"""A store in a bucket of an S3 server, which any number of replicas may share.

    layout, secret          this layout's version, and 32 random bytes: the key of the delete tokens
    note                    the state that a process saves for the next one; removed as it is read
    probe                   written by each start to find out whether the server has conditional writes
    records/<id>.json       the record of a job: the job exists when, and only when, this does
    sources/<id>/<upload>   its upload, until it is final; empty if that is kept
    originals/<id>/<upload> its upload, if that is kept
    images/<id>/<file>      its variants
    outbox/<name>           an event that waits to be delivered, by the engine of one machine
    spent/<id>              a single-use ticket whose image was removed

An upload is gathered in a local file and written to `sources`; creating its record accepts it. A deletion
begins with the record. Objects that a crash left without a record are swept when they are an hour old.

Replicas must share one engine: of two `local:` engines on one prefix, each would work on the other's jobs.
Each replica counts the bytes of the others within the hour; until then the sum may be more than the limit.
"""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from app.job import Job, MadeVariant, is_id, new_upload
from app.storage.base import StoreBase
from app.storage.interface import JobExists, JobGone, Spool, StoreUnusable
from app.storage.s3.client import S3Client
from app.storage.s3.download import Download
from app.storage.s3.images import IMAGES, ImageWriter, image_name, inspect_images
from app.storage.s3.kept_objects import KeptObjects
from app.storage.s3.records import Records
from app.storage.s3.scratch import Scratch
from app.storage.s3.shared import check_bucket, create_layout, shared_secret
from app.storage.s3.signer import BucketSigner
from app.storage.s3.sources import SOURCES, Sources, parse_source_name, source_name
from app.storage.s3.sweep import Sweep
from app.storage.spool import SOURCE, FileSpool
from workers.messages import Made

log = structlog.get_logger(__name__)

_FIRST_COUNT_TIMEOUT_S = 2.0
"""How long a start waits for the first count of bytes. That of a large store goes on beside the work."""


class S3Store(StoreBase):
    """Keeps everything below one prefix of a bucket."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        max_bytes: int,
        retention: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keeps about `max_bytes`, and each job for `retention` seconds of `clock` after it is final."""
        super().__init__(max_bytes, retention, clock)
        self._client = S3Client(bucket, prefix)
        self.signer = BucketSigner(self._client)
        self._scratch = Scratch()
        self._records = Records(self._client, clock)
        self._sources = Sources(self._client, self.write_in_thread)
        self.events, self.spent = KeptObjects(self._client, "outbox"), KeptObjects(self._client, "spent")
        self._sweep = Sweep(self._client, self._records, retention, self._is_expired, clock, self._expiring)
        self._first_count: asyncio.Task[None] | None = None

    async def check(self) -> str:
        try:
            self._client.connect()
            await check_bucket(self._client)
        except OSError as error:
            raise self._unusable(error) from None
        return f"the store {self._client} may be written"

    async def open(self) -> None:
        try:
            self._client.connect()
            if not await check_bucket(self._client):
                await create_layout(self._client)
            self._secret = await shared_secret(self._client)
            await self.write_in_thread(self._scratch.open)
        except OSError as error:
            raise self._unusable(error) from None

    async def survey(self) -> None:
        self._first_count = asyncio.create_task(self._count(), name="first count of the store")
        await asyncio.wait({self._first_count}, timeout=_FIRST_COUNT_TIMEOUT_S)

    def _unusable(self, error: OSError) -> StoreUnusable:
        hint = "" if os.environ.get("AWS_ACCESS_KEY_ID") else " (AWS_ACCESS_KEY_ID is not set)"
        return StoreUnusable(f"the store {self._client} cannot be used: {error.strerror or error}{hint}")

    async def close(self) -> None:
        if self._first_count is not None:
            self._first_count.cancel()
            await asyncio.wait({self._first_count})
        await self.write_in_thread(self._scratch.close)

    async def pending(self, except_for: Container[str] = ()) -> AsyncIterator[Job]:
        try:
            sources = [item async for item in self._client.list(SOURCES)]
            unread: OSError | None = None
            for item in sorted(sources, key=lambda item: item.written_at):
                if (parsed := parse_source_name(item.name)) is None or parsed[0] in except_for:
                    continue
                job_id, upload = parsed
                try:
                    job = await self._records.read(job_id)
                    if job is None:
                        job = await self._sources.find(item, job_id, upload)
                        await self.save(job)
                except (FileNotFoundError, JobGone):  # never accepted, or deleted since
                    continue
                except OSError as error:  # one that cannot be read keeps back no later one
                    if unread is not None:
                        raise
                    unread = error
                    continue
                if job.upload != upload:  # of an upload that was not accepted: left to the sweep
                    continue
                if job.is_final:  # the process died after it had written the record
                    await self._settle_source(job)
                else:
                    yield job
            if unread is not None:
                raise unread
        except OSError as error:
            raise self._unusable(error) from None

    async def load_state(self) -> bytes | None:
        try:
            data, _ = await self._client.get("note")
            await self._client.delete(["note"])
        except OSError:
            return None
        return data

    async def save_state(self, data: bytes) -> None:
        await self._client.put("note", data, len(data))

    async def spool(self, job_id: str) -> FileSpool:
        return FileSpool(self._scratch.spool / job_id, self.write_in_thread)

    async def accept(self, spool: Spool, job: Job) -> None:
        assert isinstance(spool, FileSpool)  # noqa: S101 - a store is given its own spools only
        folder, _ = await self.write_in_thread(spool.flush)
        job.upload, job.digest = new_upload(), spool.digest()
        await self._sources.upload(job, folder / SOURCE)
        try:
            replaced = await self._records.create(job, self._makes_way, self._expiring)
        except FileExistsError:
            with suppress(OSError):
                await self._sources.remove(job)
            raise JobExists(job.id) from None
        if replaced:
            await self._remove_images(job.id)
        self._space.used += job.size
        await self._sources.keep(job, folder / SOURCE, self._scratch.kept / f"{job.id}-{job.upload}")
        await self._check_unspent(job)

    async def workspace(self, job_id: str) -> Path:
        folder = self._scratch.work / f"{job_id}-{secrets.token_hex(4)}"
        await self.write_in_thread(folder.mkdir)
        return folder

    async def fetch(self, job: Job, folder: Path) -> Path:
        await self._sources.fetch(job, path := _source_beside(folder))
        return path

    async def take_variants(self, job: Job, folder: Path, made: Sequence[Made]) -> dict[str, MadeVariant]:
        inspected = await self.write_in_thread(inspect_images, folder, made)
        images = ImageWriter(self._client, self._records, self.retention)
        puts = (images.put(job.id, name, variant, data) for name, (variant, data) in inspected.items())
        await asyncio.gather(*puts)
        self._space.used += sum(variant.size for variant, _ in inspected.values())
        return {name: variant for name, (variant, _) in inspected.items()}

    async def drop_workspace(self, folder: Path) -> None:
        await self.write_in_thread(_remove_workspace, folder)

    async def save(self, job: Job) -> None:
        try:
            await self._records.replace(job)
        except JobGone:
            with suppress(OSError):
                await self._remove_images_without_record(job.id)
            raise
        if job.is_final:
            await self._settle_source(job)

    async def _settle_source(self, job: Job) -> None:
        """Remove the source of a final job, or keep it. What cannot be removed now is left to the sweep."""
        try:
            freed = await self._sources.settle(job)
        except OSError as error:
            log.warning("source of an ended job not removed yet", job=job.id, reason=str(error))
        else:
            self._space.used -= freed

    async def reopen(self, job: Job) -> None:
        await self._sources.mark_unfinished(job)
        await self._records.reopen(job, self._is_expired)
        await self._sources.mark_unfinished(job)  # who saw the mark before the record may have removed it

    async def load(self, job_id: str, *, fresh: bool = False) -> Job | None:
        if not is_id(job_id):
            return None
        try:
            job = await (self._records.read(job_id) if fresh else self._records.read_cached(job_id))
        except FileNotFoundError:
            return None
        return None if job is None or self._is_expired(job) else job

    async def blob(self, job: Job, variant: str, span: tuple[int, int] | None = None) -> Download | None:
        made = job.made[variant]
        return await self._download(image_name(job.id, made.file), span or (0, made.size - 1), made.size)

    async def original(self, job: Job, span: tuple[int, int]) -> Download | None:
        return await self._download(source_name(job), span, job.size)

    async def _download(self, name: str, span: tuple[int, int], size: int) -> Download | None:
        try:
            download = await self._client.download(name, *span)
        except FileNotFoundError:
            return None
        if download.size != size:  # replaced by hand
            download.close()
            return None
        return download

    async def delete(self, job_id: str) -> None:
        try:
            job = await self._records.read(job_id)
        except FileNotFoundError:
            return
        await self._keep_spent(job)
        await self._records.remove(job_id)  # first, so that nobody is served a part of it
        await self._remove_images(job_id)
        if job is None:
            await self._sources.remove_all(job_id)
        else:
            await self._sources.remove(job)
            self._space.used -= 0 if job.is_final and not job.keeps_original else job.size

    async def _remove_images(self, job_id: str) -> None:
        images = [item async for item in self._client.list(f"{IMAGES}/{job_id}")]
        await self._client.delete([item.name for item in images])
        self._space.used -= sum(item.size for item in images)

    async def _remove_images_without_record(self, job_id: str) -> None:
        """Remove what was made for a job that was deleted or failed meanwhile."""
        try:
            stored = await self._records.read(job_id)
        except FileNotFoundError:
            await self._remove_images(job_id)
        else:
            if stored is not None and stored.is_final and not stored.made:
                await self._remove_images(job_id)

    async def sweep(self) -> int:
        if self._space.recount_wanted:
            self._space.recount_wanted = False
            self._sweep.hasten()
        is_counting = self._first_count is not None and not self._first_count.done()
        return await self._sweep_now() if self._sweep.is_due and not is_counting else 0

    async def _sweep_now(self) -> int:
        """Remove what is over and correct the count of bytes. What is counted meanwhile is kept."""
        before = self._space.used
        removed, left_bytes = await self._sweep.run()
        self._space.used += left_bytes - before
        await self._forget_spent()
        return removed

    async def _count(self) -> None:
        try:
            await self._sweep_now()
        except OSError as error:  # the next sweep tries again
            log.error("store could not be counted", reason=str(error))


def _source_beside(folder: Path) -> Path:
    """Where the source for a workspace is: not inside, since the workspace belongs to the worker."""
    return folder.with_suffix(f".{SOURCE}")


def _remove_workspace(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _source_beside(folder).unlink(missing_ok=True)
