"""Who watches: viewers of the statistics, and clients that follow their jobs."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

from app.api.images import ImageService
from app.api.stats_feed import StatsFeed
from app.backpressure.brownout import Brownout, DeferredQueue
from app.backpressure.drain_rate import DrainRate
from app.backpressure.upload_queue import UploadQueue
from app.engine.job_handle import JobHandle
from app.engine.work_queue import WorkQueue
from app.job import Job, new_id
from app.server.links import Links
from app.server.open_requests import OpenRequests
from bench.growth.measure import Growth, Operation

_tasks: list[asyncio.Task[None]] = []


class _Places:
    """As much of an engine as an event stream asks."""

    def __init__(self, work_queue: WorkQueue) -> None:
        self._work_queue = work_queue

    def position(self, handle: JobHandle) -> tuple[int | None, float | None]:
        position = self._work_queue.upload_queue.position(handle)
        return position, self._work_queue.wait(handle, position)


class _ForGood:
    """As much of a store as an event stream asks."""

    def expires_at(self, _: Job) -> None:
        return None


async def _viewers(viewers: int) -> Mapping[str, Operation]:
    """So many pages that watch the statistics; they leave when the event loop ends."""
    feed = StatsFeed(lambda: {"figures": [0] * 500}, OpenRequests(viewers, viewers), period=0.1)
    served = asyncio.Event()
    seen = 0

    async def watch() -> None:
        nonlocal seen
        async for _ in feed.stream("page")._content:
            seen += 1
            if seen % viewers == 0:
                served.set()

    async def serve() -> None:
        async with feed.running():
            await asyncio.gather(*(watch() for _ in range(viewers)))

    async def next_snapshot() -> None:
        served.clear()
        await served.wait()

    _tasks.append(asyncio.create_task(serve()))
    await served.wait()
    return {"snapshot for all of them": next_snapshot}


async def _followers(streams: int) -> Mapping[str, Operation]:
    """So many event streams, each of a job that waits; five seconds in which all places change."""
    queue: UploadQueue[JobHandle] = UploadQueue(streams, 10, 20, DrainRate(2, streams))
    work_queue = WorkQueue(queue, Brownout(0.75, 0.25, DeferredQueue(0)))
    open_requests = OpenRequests(streams, streams)
    images = ImageService(
        cast("Any", None),
        cast("Any", _Places(work_queue)),
        cast("Any", _ForGood()),
        open_requests,
        60,
        Links(),
    )

    async def follow(handle: JobHandle) -> None:
        async for _ in images.follow(handle):
            pass

    async def some_seconds() -> None:
        work_queue.upload_queue.take_nowait()
        await asyncio.sleep(5.0)

    for number in range(streams):
        handle = JobHandle(Job(new_id(), time.time(), 10, ()), f"client {number}")
        work_queue.put(handle)
        open_requests.take("client")
        _tasks.append(asyncio.create_task(follow(handle)))
    await some_seconds()  # in which they spread
    return {"five seconds, in which all places change": some_seconds}


GROWTHS = (
    Growth("viewers of the statistics", (50, 500, 5_000), _viewers),
    Growth("event streams of waiting jobs", (50, 500, 5_000), _followers),
)
