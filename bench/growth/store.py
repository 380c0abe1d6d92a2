"""What grows on disk: images that are kept, jobs that a start finds unfinished, copies of uploads for S3."""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from app.backpressure.brownout import Brownout, DeferredQueue
from app.backpressure.drain_rate import DrainRate
from app.backpressure.upload_queue import UploadQueue
from app.engine.job_registry import JobRegistry
from app.engine.work_queue import WorkQueue
from app.job import Job, new_id
from app.storage.local.store import LocalStore
from app.storage.s3.client import S3Client
from app.storage.s3.sources import Sources
from bench.growth.measure import Growth, Operation
from bench.start import fill

_SIZES = (1_000, 10_000, 100_000)
_DAY_S = 86_400.0
_UPLOAD = bytes(10_000)
_folders: list[tempfile.TemporaryDirectory[str]] = []
"""The folder of the latest store, which is removed when the next one is made, or at the end."""

_kept: list[Any] = []
"""What was queued: that it is freed at the end is no part of a start."""


def _new_root() -> Path:
    _kept.clear()
    for folder in _folders:
        folder.cleanup()
    _folders[:] = [tempfile.TemporaryDirectory()]
    return Path(_folders[0].name) / "data"


async def _opened(root: Path) -> LocalStore:
    store = LocalStore(root, 10**15, _DAY_S)
    await store.open()
    await store.survey()
    return store


async def _images(images: int) -> Mapping[str, Operation]:
    """A store with so many images, which were made just now."""
    root = _new_root()
    fill(root, images)
    store = await _opened(root)
    names = itertools.cycle([path.name for path in itertools.islice((root / "images").glob("*/*"), 300)])

    async def upload() -> None:
        job = Job(new_id(), time.time(), len(_UPLOAD), ())
        spool = await store.spool(job.id)
        await spool.write(_UPLOAD)
        await store.accept(spool, job)

    async def read() -> None:
        job = await store.load(next(names), fresh=True)
        assert job is not None
        blob = await store.blob(job, "thumb")
        assert blob is not None
        await blob.read(0, 1000)
        blob.close()

    async def stop_and_start() -> None:
        nonlocal store
        await store.close()
        store = await _opened(root)

    async def crash_and_start() -> None:
        nonlocal store
        store.directory.close()
        store = await _opened(root)

    return {
        "upload": upload,
        "read": read,
        "idle minute (sweep)": lambda: store.sweep(),
        "start after a stop": stop_and_start,
        "start after a crash": crash_and_start,
    }


async def _unfinished(jobs: int) -> Mapping[str, Operation]:
    """A store with so many jobs that an earlier run accepted, which a start queues."""
    root = _new_root()
    for _ in range(jobs):
        job = Job(new_id(), time.time(), 1, ("thumb=96",))
        home = root / "images" / job.id[:2] / job.id
        home.mkdir(parents=True)
        (home / "source").write_bytes(b"x")
        (home / "job.json").write_bytes(job.to_record())
    store = await _opened(root)
    await store.close()

    async def start(end: Callable[[LocalStore], Any]) -> None:
        found = await _opened(root)
        upload_queue: UploadQueue[Any] = UploadQueue(100, 10, 20, DrainRate(2, 100))
        queue, registry = WorkQueue(upload_queue, Brownout(0.75, 0.25, DeferredQueue(0))), JobRegistry()
        async for job in found.pending():
            queue.put(registry.resume(job))
        _kept.append((queue, registry))
        assert upload_queue.waiting == jobs
        await end(found)

    async def crash(found: LocalStore) -> None:
        found.directory.close()

    return {
        "start after a stop": lambda: start(LocalStore.close),
        "start after a crash": lambda: start(crash),
    }


async def _copies(copies: int) -> Mapping[str, Operation]:
    """So many uploads of which this machine has copies, for its workers."""

    async def do_nothing(*_: Any, **__: Any) -> None:
        return None

    sources = Sources(cast("S3Client", None), do_nothing)
    path = Path(os.devnull)

    async def keep() -> None:
        await sources.keep(Job(new_id(), 0.0, 100, ()), path, path)

    for _ in range(copies):
        await keep()
    return {"upload": keep}


GROWTHS = (
    Growth("images kept", _SIZES, _images),
    Growth("unfinished jobs", _SIZES, _unfinished),
    Growth("uploads kept for S3", _SIZES, _copies),
)
