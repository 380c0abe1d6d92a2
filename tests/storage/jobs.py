"""Steps in the life of a job, taken with a store: accepted, made, finished."""

import time
from dataclasses import replace
from typing import Any

from app.job import Job, JobStatus, new_id
from app.storage.interface import Blob, Store
from tests import samples
from workers.messages import Made

DAY = 86_400.0
PHOTO = samples.jpeg()


def job_of(data: bytes, *, created_at: float = 1000.0) -> Job:
    """A queued job for an upload of these bytes."""
    return Job(new_id(), created_at, len(data), ("thumb=96",))


async def spooled(store: Store, job: Job, data: bytes) -> Any:
    """A spool with an upload in it that is not accepted yet."""
    spool = await store.spool(job.id)
    await spool.write(data)
    return spool


async def accepted(store: Store, data: bytes = PHOTO, job: Job | None = None) -> Job:
    """A job that the store has accepted, with the upload `data`."""
    job = job or job_of(data)
    spool = await spooled(store, job, data)
    await store.accept(spool, job)
    await spool.discard()
    return job


async def fetched(store: Store, job: Job) -> bytes:
    """The upload as a worker would find it."""
    folder = await store.workspace(job.id)
    try:
        return (await store.fetch(job, folder)).read_bytes()
    finally:
        await store.drop_workspace(folder)


async def made(store: Store, job: Job, *, provisional: bool = False, **files: bytes) -> dict[str, Any]:
    """Have the store take these JPEG files from a workspace, as a worker would leave them."""
    folder = await store.workspace(job.id)
    for name, data in files.items():
        (folder / f"{name}.jpg").write_bytes(data)
    try:
        claims = [replace(claim(name), provisional=provisional) for name in files]
        return await store.take_variants(job, folder, claims)
    finally:
        await store.drop_workspace(folder)


def claim(name: str, format: str = "jpeg", file: str | None = None) -> Made:  # noqa: A002 - as in Made
    """What a worker says about one file that it made."""
    return Made(name, file or f"{name}.jpg", format, 96, 72)


async def finished(store: Store, at: float | None = None, status: str = JobStatus.DONE) -> Job:
    """A final job with one variant, which ended `at` that time or now."""
    job = await accepted(store)
    job.made.update(await made(store, job, thumb=PHOTO))
    job.status, job.finished_at = status, time.time() if at is None else at
    await store.save(job)
    return job


async def pending(store: Store) -> list[Job]:
    """All unfinished jobs, as a start gets them."""
    return [job async for job in store.pending()]


async def read(store: Store, job: Job, variant: str) -> bytes | None:
    """The bytes of a variant, or None when its file is gone."""
    blob = await store.blob(job, variant)
    if blob is None:
        return None
    try:
        return await span(blob, 0, job.made[variant].size)
    finally:
        blob.close()


async def span(blob: Blob, first: int, length: int) -> bytes:
    """`length` bytes of a variant from an offset on, in however many pieces they come."""
    data = b""
    while len(data) < length and (
        piece := await blob.read(first + len(data), min(65_536, length - len(data)))
    ):
        data += piece
    return data


def used(store: Store) -> int:
    """Bytes that the store believes are kept."""
    return store.snapshot().used_bytes
