"""The event stream of one job."""

import asyncio
from typing import Any, cast

import pytest

from app.api.images import ImageService
from app.engine.job_handle import JobHandle
from app.job import Job, JobStatus, new_id
from app.server.links import Links
from app.server.open_requests import OpenRequests
from app.server.streaming import COMMENT

pytestmark = pytest.mark.anyio


class CountingEngine:
    """An engine in which a job keeps its place; it counts how often it is asked for that."""

    asked = 0

    def position(self, _: JobHandle) -> tuple[int, float]:
        self.asked += 1
        return 7, 1.0


class KeptForGood:
    """A store whose images never expire."""

    def expires_at(self, _: Job) -> None:
        return None


@pytest.mark.parametrize(("streams", "looks"), [(1, 70), (3000, 25), (90_000, 16)])
async def test_the_more_follow_their_jobs_the_less_often_each_place_is_looked_up(
    streams: int, looks: int
) -> None:
    """About once a second, but a thousand times a second in all. No stream is silent for longer than 20 s."""
    engine, open_requests = CountingEngine(), OpenRequests(streams, streams)
    for _ in range(streams):
        open_requests.take("client")
    store, links, nothing = KeptForGood(), Links(), cast("Any", None)
    images = ImageService(nothing, cast("Any", engine), cast("Any", store), open_requests, 60, links)
    handle = JobHandle(Job(new_id(), 1000.0, 10, ("thumb=96",)), "client")
    heard: list[bytes] = []

    async def follow() -> None:
        heard.extend([piece async for piece in images.follow(handle)])

    following = asyncio.create_task(follow())
    await asyncio.sleep(60.5)
    assert engine.asked == pytest.approx(looks, rel=0.15)
    handle.set_status(JobStatus.CANCELLED)
    await following
    assert heard.count(COMMENT) in (3, 4)
