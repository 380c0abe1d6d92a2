"""What is held open: bounded, counted once, and ended."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import count
from typing import Any, Self

import pytest
from anyio import CapacityLimiter
from starlette.types import Message

from app.server.streaming import (
    HEARTBEAT,
    EventStream,
    HeldResponse,
    OpenRequests,
    StatsFeed,
    TooManyStreams,
    event,
)
from tests.clocks import LeapingLoop, settle

pytestmark = pytest.mark.anyio


def clock() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


async def stays() -> Message:
    """A client that stays."""
    await asyncio.Event().wait()
    raise AssertionError


def leaves_at(moment: float) -> Callable[[], Awaitable[Message]]:
    """A client that goes away at a moment of the loop."""
    left = asyncio.Event()
    asyncio.get_running_loop().call_at(moment, left.set)

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    return receive


class Viewer:
    """A client that reads a stream: what it got, and its task."""

    def __init__(self, stream: HeldResponse, receive: Callable[[], Awaitable[Message]] = stays) -> None:
        self.got: list[bytes] = []
        self.headers: dict[bytes, bytes] = {}
        self.task = asyncio.create_task(self._watch(stream, receive))

    async def _watch(self, stream: HeldResponse, receive: Callable[[], Awaitable[Message]]) -> None:
        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.headers = dict(message["headers"])
            elif message["body"]:
                self.got.append(message["body"])

        await stream({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)


def is_free(streams: OpenRequests, client: str = "a") -> bool:
    """Whether nothing is held open at all."""
    return (streams._count, streams._open[client], len(+streams._open)) == (0, 0, 0)


# --- bounds ---------------------------------------------------------------------------------------------


async def test_streams_are_bounded_in_all_and_for_each_client() -> None:
    """Beyond the bound the refusal says when to try again; what ends makes room."""
    streams = OpenRequests(most=3, per_client=2)
    first, _ = streams.take("a"), streams.take("a")
    with pytest.raises(TooManyStreams) as refusal:
        streams.take("a")
    assert refusal.value.retry_after == HEARTBEAT
    streams.take("b")
    with pytest.raises(TooManyStreams):
        streams.take("c")
    first()
    streams.take("c")
    with pytest.raises(TooManyStreams):
        streams.take("b")


async def test_a_refused_stream_holds_nothing() -> None:
    """Being refused a thousand times leaves no trace in the table."""
    streams = OpenRequests(most=1)
    release = streams.take("a")
    for number in range(1000):
        with pytest.raises(TooManyStreams):
            streams.take(f"client {number}")
    assert len(streams._open) == 1
    release()
    assert is_free(streams)
    assert len(streams._open) == 0


async def test_a_held_place_is_given_back_however_the_block_ends() -> None:
    """Also when it fails."""
    streams = OpenRequests(most=1)
    with streams.hold("a"), pytest.raises(TooManyStreams):
        streams.take("b")
    with pytest.raises(ZeroDivisionError), streams.hold("a"):
        raise ZeroDivisionError
    assert is_free(streams)


# --- waits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["event", "timeout", "gone", "closed", "receive fails"])
async def test_a_wait_ends_for_every_reason_there_is(why: str) -> None:
    """Event, time, a client that went, the service closing: each at its moment, leaving no task."""
    streams, awaited = OpenRequests(most=1), asyncio.Event()
    loop, began = asyncio.get_running_loop(), clock()
    receive = leaves_at(began + 3) if why == "gone" else stays
    if why == "event":
        loop.call_at(began + 3, awaited.set)
    elif why == "closed":
        loop.call_at(began + 3, streams.close)
    elif why == "receive fails":

        async def receive() -> Message:
            raise OSError("the connection broke")

    tasks = len(asyncio.all_tasks())
    await streams.wait(awaited, 60, receive)
    expected = {"timeout": 60, "receive fails": 0}.get(why, 3)
    assert clock() - began == pytest.approx(expected)
    assert len(asyncio.all_tasks()) == tasks


async def test_a_wait_for_what_has_happened_takes_no_time() -> None:
    """Nor does one of no seconds."""
    streams, happened = OpenRequests(most=1), asyncio.Event()
    began = clock()
    await streams.wait(happened, 0, stays)
    happened.set()
    await streams.wait(happened, 60, stays)
    assert clock() == began


async def test_a_body_that_still_comes_in_is_not_a_client_that_goes() -> None:
    """Only a disconnect ends the wait."""
    messages = iter([{"type": "http.request"}, {"type": "http.request"}])

    async def receive() -> Message:
        return next(messages, None) or await stays()

    began = clock()
    await OpenRequests(most=1).wait(asyncio.Event(), 7, receive)
    assert clock() - began == pytest.approx(7)


async def test_a_cancelled_wait_is_cancelled() -> None:
    """Stopping the request stops the wait, and nothing of it runs on."""
    tasks = len(asyncio.all_tasks())
    waiting = asyncio.create_task(OpenRequests(most=1).wait(asyncio.Event(), 60, stays))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(asyncio.all_tasks()) == tasks


# --- held streams ---------------------------------------------------------------------------------------


async def endless() -> AsyncGenerator[bytes]:
    """Something every second, for ever."""
    for number in count():
        yield b"%d" % number
        await asyncio.sleep(1)


async def short() -> AsyncGenerator[bytes]:
    """Two pieces, then the end."""
    yield b"a"
    yield b"b"


async def broken() -> AsyncGenerator[bytes]:
    """One piece, then an error."""
    yield b"a"
    raise OSError("the file is shorter than it was")


@pytest.mark.parametrize("how", ["ends", "client leaves", "fails", "is cancelled"])
async def test_a_stream_lets_go_exactly_once_however_it_ends(how: str) -> None:
    """What it holds, a place or a file, is given back, and not twice."""
    released = []
    content = {"ends": short, "fails": broken}.get(how, endless)
    stream = HeldResponse(content(), lambda: released.append(clock()))
    viewer = Viewer(stream, leaves_at(clock() + 5.5) if how == "client leaves" else stays)
    await settle()
    if how == "is cancelled":
        assert released == []
        viewer.task.cancel()
    (outcome,) = await asyncio.gather(viewer.task, return_exceptions=True)
    assert isinstance(
        outcome, {"fails": OSError, "is cancelled": asyncio.CancelledError}.get(how, type(None))
    )
    assert len(released) == 1
    assert viewer.got[0] in (b"a", b"0")
    if how == "client leaves":
        assert len(viewer.got) == 6


class Piece(bytes):
    """Tells when nobody holds it any more."""

    def __new__(cls, data: bytes, forgotten: list[bytes]) -> Self:
        piece = super().__new__(cls, data)
        piece.forgotten = forgotten
        return piece

    forgotten: list[bytes]

    def __del__(self) -> None:
        self.forgotten.append(bytes(self))


@pytest.mark.parametrize("moment", ["while it is sent", "while the next one is fetched"])
async def test_who_leaves_leaves_no_piece_behind(moment: str) -> None:
    """Nor does it wait for the garbage to be collected: of a crowd that goes, that would be much."""
    forgotten: list[bytes] = []
    left, never = asyncio.Event(), asyncio.Event()
    readers = CapacityLimiter(1)
    await readers.acquire_on_behalf_of("another")

    async def content() -> AsyncGenerator[bytes]:
        yield Piece(b"a", forgotten)
        async with readers:
            raise AssertionError

    async def send(message: Message) -> None:
        if moment == "while it is sent" and message["type"] == "http.response.body":
            await never.wait()

    async def leaves() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    gc.disable()
    try:
        stream = HeldResponse(content(), lambda: None)
        answering = asyncio.create_task(
            stream({"type": "http", "asgi": {"spec_version": "2.3"}}, leaves, send)
        )
        await settle()
        left.set()
        await answering
        assert forgotten == [b"a"]
    finally:
        gc.enable()


async def test_an_event_stream_is_held_back_by_nobody() -> None:
    """Its headers keep caches and proxies from gathering it."""
    viewer = Viewer(EventStream(short()))
    await viewer.task
    assert viewer.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert viewer.headers[b"cache-control"] == b"no-store"
    assert viewer.headers[b"x-accel-buffering"] == b"no"


def test_an_event_is_framed_as_the_standard_says() -> None:
    """One line of data, whatever is in it; an id where there is one."""
    assert event("done", {"a": "x\ny"}) == b'event: done\ndata: {"a":"x\\ny"}\n\n'
    assert event("done", 1, "done.4") == b"id: done.4\nevent: done\ndata: 1\n\n"


# --- the feed -------------------------------------------------------------------------------------------


class Snapshots:
    """Builds snapshots, and counts them."""

    def __init__(self) -> None:
        self.built = 0

    def __call__(self) -> dict[str, Any]:
        self.built += 1
        return {"n": self.built}


async def until(moment: float) -> None:
    """Let the loop come to a moment, and everybody act on it."""
    reached = asyncio.Event()
    asyncio.get_running_loop().call_at(moment, reached.set)
    await reached.wait()
    await settle()


async def test_many_viewers_share_one_snapshot_a_second() -> None:
    """A hundred viewers see the same ones, each built once, the first of them too."""
    snapshots, streams = Snapshots(), OpenRequests(most=1000)
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


async def test_the_seconds_are_counted_though_nobody_watches() -> None:
    """So that the last minute is whole for whoever comes, and a newcomer costs no snapshot."""
    snapshots, streams = Snapshots(), OpenRequests(most=10)
    feed = StatsFeed(snapshots, streams)
    began = clock()
    async with feed.running():
        await until(began + 60.5)
        viewer = Viewer(feed.stream("a"), leaves_at(began + 62.75))
        await viewer.task
        assert viewer.got == [event("stats", {"n": number}) for number in (61, 62, 63)]
    assert is_free(streams)


async def test_nothing_is_built_after_the_feed_has_ended() -> None:
    """Its task ends with it."""
    snapshots = Snapshots()
    tasks = len(asyncio.all_tasks())
    async with StatsFeed(snapshots, OpenRequests(most=10)).running():
        pass
    await settle()
    assert (snapshots.built, len(asyncio.all_tasks())) == (1, tasks)


async def test_closing_ends_every_viewer_s_stream() -> None:
    """At once, not at the next second; and who comes then gets the present state and the end."""
    streams = OpenRequests(most=10)
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
    streams = OpenRequests(most=1)
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
