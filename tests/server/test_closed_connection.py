"""A connection that is closed is freed at once, over TCP, on the event loops of Python and of the service."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Callable

import pytest
import uvicorn
import uvloop
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from app.server.client_connection import connection_of
from app.server.connection import HttpConnection
from app.server.connection_state import SharedParts
from app.server.lingering_close import LingeringClose
from app.server.raw_response import RawResponse

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
SENT = {
    "nothing": [b""],
    "half a head": [GET[:10]],
    "two requests": [GET, GET],
    "the last request": [GET.replace(b"Host", b"Connection: close\r\nHost")],
    "no HTTP": [b"garbage\r\n\r\n"],
    "a body": [POST % (b"", 4, b"body")],
    "half a body": [POST % (b"", 4, b"bo")],
    "half a large body": [POST % (b"fast", 2**21, bytes(2**20))],
    "a body that is refused by its head": [POST % (b"refused", 2**20, b"body")],
    "a request that is never answered": [GET.replace(b"/", b"/wait", 1)],
}


def refuse(_: Scope, target: bytes) -> RawResponse | None:
    """An early rejection of one path."""
    return RawResponse.of(Response("no", 503)) if target == b"/refused" else None


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers when the body is there, or waits until the client has left."""
    connection = connection_of(scope)
    left = asyncio.Event()
    connection.on_disconnect(left.set)
    connection.fast_reading = scope["path"] == "/fast"
    if scope["path"] == "/wait":
        connection.treat_eof_as_disconnect()
        await left.wait()
    with contextlib.suppress(ClientDisconnect):
        async for _ in Request(scope, receive).stream():
            pass
    connection.fast_reading = False
    await Response("yes")(scope, receive, send)


async def talk(sent: dict[str, list[bytes]]) -> dict[str, weakref.ref[HttpConnection]]:
    """Have a connection for each, send that, reading the answers that come at once, and close it."""
    loop, state = asyncio.get_running_loop(), ServerState()
    shared = SharedParts(refuse, 1000, LingeringClose(2**20, 10))  # type: ignore[arg-type]
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none", proxy_headers=False)
    made: list[weakref.ref[HttpConnection]] = []

    def make() -> HttpConnection:
        connection = HttpConnection(shared, config=config, server_state=state, app_state={}, _loop=loop)
        made.append(weakref.ref(connection))
        return connection

    async with await loop.create_server(make, "127.0.0.1", 0) as server:
        for messages in sent.values():
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for message in messages:
                writer.write(message)
                try:
                    await asyncio.wait_for(reader.read(1000), 0.02)
                except TimeoutError:
                    continue
            writer.close()
        async with asyncio.timeout(30):
            while state.connections or state.tasks or len(made) < len(sent):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await asyncio.sleep(0)
    return dict(zip(sent, made, strict=True))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_closed_connection_needs_no_garbage_collector(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Whatever came of it: the collector would hold up the event loop for a crowd that has left."""
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            made = runner.run(talk(SENT))
            assert [name for name, connection in made.items() if connection() is not None] == []
            assert not any(isinstance(each, RequestResponseCycle) for each in gc.get_objects())
    finally:
        gc.enable()
