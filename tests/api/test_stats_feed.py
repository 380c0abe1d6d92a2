"""The live statistics: one snapshot a second, shared by everybody who watches."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.api.stats_feed import StatsFeed
from app.server.open_requests import OpenRequests, TooManyStreams
from app.server.streaming import event
from tests.clocks import LeapingLoop, settle
from tests.server.viewers import Viewer, clock, leaves_at

pytestmark = pytest.mark.anyio


def is_free(streams: OpenRequests, client: str = "a") -> bool:
    """Whether nothing is held open at all."""
    return (streams._count, streams._open[client], len(+streams._open)) == (0, 0, 0)


class Snapshots:
    """Builds snapshots, and counts them; those of the numbers in `failing` fail."""

    def __init__(self, *failing: int) -> None:
        self.built = 0
        self._failing = failing

    def __call__(self) -> dict[str, Any]:
        self.built += 1
        if self.built in self._failing:
            raise ZeroDivisionError
        return {"n": self.built}


async def until(moment: float) -> None:
    """Let the loop come to a moment, and everybody act on it."""
    reached = asyncio.Event()
    asyncio.get_running_loop().call_at(moment, reached.set)
    await reached.wait()
    await settle()


async def test_many_viewers_share_one_snapshot_a_second() -> None:
    """A hundred viewers see the same ones, each built once, the first of them too."""
    snapshots, streams = Snapshots(), OpenRequests(max_open=1000)
    feed = StatsFeed(snapshots, streams)
    began = clock()
    async with feed.running():
        viewers = [Viewer(feed.stream(f"client {number}")) for number in range(100)]
        await settle()
        assert all(len(viewer.got) == 1 for viewer in viewers)
        await until(began + 3.5)
        assert snapshots.built == 4
        assert {tuple(viewer.got) for viewer in viewers} == {
            tuple(event("stats", {"n": number}) for number in (1, 2, 3, 4))
        }
        streams.close()
        await asyncio.gather(*(viewer.task for viewer in viewers))
    assert is_free(streams)


async def test_few_viewers_are_served_at_once() -> None:
    """Between them uploads have their turn, however many pages are open."""
    streams = OpenRequests(max_open=1000, max_per_client=1000)
    feed = StatsFeed(Snapshots(), streams)
    sent_at: Counter[float] = Counter()

    async def watch() -> None:
        async for _ in feed.stream("a")._content:
            sent_at[clock()] += 1

    async with feed.running():
        began = clock()
        watching = [asyncio.create_task(watch()) for _ in range(400)]
        await until(began + 2.5)
        assert sent_at.pop(began) == 400  # what each gets when it comes
        assert sent_at.total() == 2 * 400  # which takes nothing from the next second
        assert max(sent_at.values()) <= 50
        streams.close()
        await asyncio.gather(*watching)


async def test_the_seconds_are_counted_though_nobody_watches() -> None:
    """So that the last minute is whole for whoever comes, and a newcomer costs no snapshot."""
    snapshots, streams = Snapshots(), OpenRequests(max_open=10)
    feed = StatsFeed(snapshots, streams)
    began = clock()
    async with feed.running():
        await until(began + 60.5)
        viewer = Viewer(feed.stream("a"), leaves_at(began + 62.75))
        await viewer.task
        assert viewer.got == [event("stats", {"n": number}) for number in (61, 62, 63)]
    assert is_free(streams)


async def test_a_failed_snapshot_does_not_end_the_feed() -> None:
    """The failure is logged; viewers miss that snapshot and get the next ones."""
    snapshots, streams = Snapshots(2), OpenRequests(max_open=10)
    feed = StatsFeed(snapshots, streams)
    began = clock()
    async with feed.running():
        with capture_logs() as logs:
            viewer = Viewer(feed.stream("a"), leaves_at(began + 3.5))
            await viewer.task
    assert viewer.got == [event("stats", {"n": number}) for number in (1, 3)]
    assert [entry["task"] for entry in logs] == ["stats feed"]


async def test_nothing_is_built_after_the_feed_has_ended() -> None:
    """Its task ends with it."""
    snapshots = Snapshots()
    tasks = len(asyncio.all_tasks())
    async with StatsFeed(snapshots, OpenRequests(max_open=10)).running():
        pass
    await settle()
    assert (snapshots.built, len(asyncio.all_tasks())) == (1, tasks)


async def test_closing_ends_every_viewer_s_stream() -> None:
    """At once, not at the next second; and who comes then gets the present state and the end."""
    streams = OpenRequests(max_open=10)
    feed = StatsFeed(Snapshots(), streams)
    async with feed.running():
        viewers = [Viewer(feed.stream("a")) for _ in range(3)]
        await settle()
        began = clock()
        streams.close()
        await asyncio.gather(*(viewer.task for viewer in viewers))
        late = Viewer(feed.stream("a"))
        await late.task
        assert len(late.got) == 1
        assert clock() == began
    assert is_free(streams)


async def test_a_feed_is_bounded_like_every_stream() -> None:
    """A viewer too many is refused."""
    streams = OpenRequests(max_open=1)
    feed = StatsFeed(Snapshots(), streams)
    async with feed.running():
        viewer = Viewer(feed.stream("a"))
        with pytest.raises(TooManyStreams):
            feed.stream("b")
        streams.close()
        await viewer.task
    assert is_free(streams)


async def test_the_loop_of_these_tests_takes_no_time() -> None:
    """A day on its clock is over at once."""
    assert isinstance(asyncio.get_running_loop(), LeapingLoop)
    began = clock()
    await until(began + 86_400)
    assert clock() == pytest.approx(began + 86_400)
