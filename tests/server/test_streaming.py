"""Streamed answers: what they hold is released however they end."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from itertools import count
from typing import Self

import pytest
from anyio import CapacityLimiter
from starlette.types import Message

from app.server.client_connection import NoConnection
from app.server.streaming import EventStream, HeldResponse, event
from tests.clocks import settle
from tests.server.viewers import Viewer, clock, leaves_at, stays

pytestmark = pytest.mark.anyio


async def endless() -> AsyncGenerator[bytes]:
    """A piece every second, without end."""
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
async def test_a_stream_releases_exactly_once_however_it_ends(how: str) -> None:
    """The resource that it holds, such as an open file, is released, and not twice."""
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
    """Notes in `forgotten` when it is no longer referred to."""

    def __new__(cls, data: bytes, forgotten: list[bytes]) -> Self:
        piece = super().__new__(cls, data)
        piece.forgotten = forgotten
        return piece

    forgotten: list[bytes]

    def __del__(self) -> None:
        self.forgotten.append(bytes(self))


@pytest.mark.parametrize("moment", ["while it is sent", "while the next one is fetched"])
async def test_a_client_that_leaves_leaves_no_piece_behind(moment: str) -> None:
    """Its memory is freed without a garbage collection, for many clients may leave at once."""
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


async def test_an_event_stream_is_not_held_back() -> None:
    """Its headers keep caches and proxies from gathering it."""
    viewer = Viewer(EventStream(short()))
    await viewer.task
    assert viewer.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert viewer.headers[b"cache-control"] == b"no-store"
    assert viewer.headers[b"x-accel-buffering"] == b"no"


async def test_only_an_event_stream_ends_with_the_client_s_sending_side() -> None:
    """A file is still sent to a client that has shut it down; a stream would never notice that it left."""
    marked = []

    class Connection(NoConnection):
        def treat_eof_as_disconnect(self) -> None:
            marked.append(self)

    for stream in (EventStream(short()), HeldResponse(short(), lambda: None)):
        viewer = Viewer(stream, connection=Connection())
        await viewer.task
        assert viewer.got == [b"a", b"b"]
    assert len(marked) == 1


def test_an_event_is_framed_as_the_standard_says() -> None:
    """One line of data, whatever is in it; an id where there is one."""
    assert event("done", {"a": "x\ny"}) == b'event: done\ndata: {"a":"x\\ny"}\n\n'
    assert event("done", 1, "done.4") == b"id: done.4\nevent: done\ndata: 1\n\n"
