"""Requests that stay open: their number is bounded, and every wait ends."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import Request
from starlette.types import Message

from app.server.client_connection import NoConnection
from app.server.open_requests import RETRY_AFTER_S, OpenRequests, TooManyStreams
from tests.clocks import settle
from tests.server.viewers import clock, leaves_at, stays

pytestmark = pytest.mark.anyio


class Connection(NoConnection):
    """Notes whether a half-closed client was to count as gone."""

    eof_is_disconnect = False

    def treat_eof_as_disconnect(self) -> None:
        self.eof_is_disconnect = True


def request(receive: Callable[[], Awaitable[Message]], connection: Connection | None = None) -> Request:
    """A request whose client does what `receive` says."""
    return Request({"type": "http", "state": {"connection": connection or Connection()}}, receive)


def is_free(open_requests: OpenRequests, client: str = "a") -> bool:
    """Whether no request is counted."""
    return (open_requests._count, open_requests._open[client], len(+open_requests._open)) == (0, 0, 0)


async def test_streams_are_bounded_in_all_and_for_each_client() -> None:
    """Beyond a bound the refusal says when to try again; a stream that ends makes room for another."""
    open_requests = OpenRequests(max_open=3, max_per_client=2)
    first, _ = open_requests.take("a"), open_requests.take("a")
    with pytest.raises(TooManyStreams) as refusal:
        open_requests.take("a")
    assert refusal.value.retry_after == RETRY_AFTER_S
    open_requests.take("b")
    with pytest.raises(TooManyStreams):
        open_requests.take("c")
    first()
    open_requests.take("c")
    with pytest.raises(TooManyStreams):
        open_requests.take("b")


async def test_a_refused_stream_holds_nothing() -> None:
    """Being refused a thousand times leaves no trace in the table."""
    open_requests = OpenRequests(max_open=1)
    release = open_requests.take("a")
    for number in range(1000):
        with pytest.raises(TooManyStreams):
            open_requests.take(f"client {number}")
    assert len(open_requests._open) == 1
    release()
    assert is_free(open_requests)
    assert len(open_requests._open) == 0


async def test_a_held_request_is_uncounted_however_the_block_ends() -> None:
    """Also by an exception."""
    open_requests = OpenRequests(max_open=1)
    with open_requests.hold("a"), pytest.raises(TooManyStreams):
        open_requests.take("b")
    with pytest.raises(ZeroDivisionError), open_requests.hold("a"):
        raise ZeroDivisionError
    assert is_free(open_requests)


@pytest.mark.parametrize("why", ["event", "timeout", "gone", "closed", "receive fails"])
async def test_a_wait_ends_for_every_reason_there_is(why: str) -> None:
    """Event, time, a client that left, the end of the service: each at its moment, leaving no task."""
    open_requests, awaited = OpenRequests(max_open=1), asyncio.Event()
    loop, began = asyncio.get_running_loop(), clock()
    receive = leaves_at(began + 3) if why == "gone" else stays
    if why == "event":
        loop.call_at(began + 3, awaited.set)
    elif why == "closed":
        loop.call_at(began + 3, open_requests.close)
    elif why == "receive fails":

        async def receive() -> Message:
            raise OSError("the connection broke")

    tasks = len(asyncio.all_tasks())
    await open_requests.wait(awaited, 60, request(receive))
    expected = {"timeout": 60, "receive fails": 0}.get(why, 3)
    assert clock() - began == pytest.approx(expected)
    assert len(asyncio.all_tasks()) == tasks


async def test_a_wait_for_what_has_happened_takes_no_time() -> None:
    """Nor does a wait of no seconds."""
    open_requests, happened = OpenRequests(max_open=1), asyncio.Event()
    began = clock()
    await open_requests.wait(happened, 0, request(stays))
    happened.set()
    await open_requests.wait(happened, 60, request(stays))
    assert clock() == began


async def test_who_half_closes_is_not_waited_for() -> None:
    """While a request waits, a client that sends no more counts as gone; but only if there is a wait."""
    connection, happened = Connection(), asyncio.Event()
    happened.set()
    await OpenRequests(max_open=1).wait(happened, 60, request(stays, connection))
    assert not connection.eof_is_disconnect
    await OpenRequests(max_open=1).wait(asyncio.Event(), 1, request(stays, connection))
    assert connection.eof_is_disconnect


async def test_a_body_that_still_arrives_is_not_a_disconnect() -> None:
    """Only a disconnect ends the wait."""
    messages = iter([{"type": "http.request"}, {"type": "http.request"}])

    async def receive() -> Message:
        return next(messages, None) or await stays()

    began = clock()
    await OpenRequests(max_open=1).wait(asyncio.Event(), 7, request(receive))
    assert clock() - began == pytest.approx(7)


async def test_a_cancelled_wait_is_cancelled() -> None:
    """Cancelling the request ends the wait, and leaves no task."""
    tasks = len(asyncio.all_tasks())
    waiting = asyncio.create_task(OpenRequests(max_open=1).wait(asyncio.Event(), 60, request(stays)))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(asyncio.all_tasks()) == tasks
