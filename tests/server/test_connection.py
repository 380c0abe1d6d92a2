"""One HTTP connection, its states and deadlines, over a socket pair and on a clock that leaps."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from app.server.client_connection import ClientConnection, connection_of
from app.server.connection import HEAD_TIMEOUT_S, IDLE_TIMEOUT_S, HttpConnection
from app.server.connection_limit import MAX_LARGE_HEADS, LargeHeads
from app.server.connection_state import SharedParts
from app.server.cors import CorsFields
from app.server.fast_reject import FastReject
from app.server.lingering_close import LingeringClose
from app.server.raw_response import RawResponse
from tests.clocks import settle

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GARBAGE = b"garbage\r\n\r\n"
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: "


class Client:
    """The other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.head = b""
        """Of the last answer, in lower case."""
        self._reader = reader

    def send(self, data: bytes) -> None:
        """Send bytes; they are there when the loop looks next."""
        self.writer.write(data)

    def shut(self) -> None:
        """Send no more."""
        self.writer.write_eof()

    @property
    def unsent(self) -> int:
        """Bytes that no socket has taken yet."""
        return self.writer.transport.get_write_buffer_size()

    def pause(self) -> None:
        """Read nothing for now."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Read again."""
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        self.head = head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return int(head.split(b" ")[1]), await self._reader.readexactly(int(length))

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        return await self._reader.read()


class Elsewhere:
    """Another connection with a large head, which stays."""

    def __init__(self, peer: str) -> None:
        self.peer = peer

    def refuse_head(self) -> None:
        """Is told that it has to go."""


@asynccontextmanager
async def connected(
    app: ASGIApp,
    fast_reject: FastReject | None = None,
    large_heads: LargeHeads | None = None,
    cors: CorsFields | None = None,
) -> AsyncIterator[Client]:
    """A client of a connection that serves an application."""

    def pass_all(_: Scope, __: bytes) -> RawResponse | None:
        return None

    loop = asyncio.get_running_loop()
    shared = SharedParts(
        fast_reject or pass_all,  # type: ignore[arg-type]
        10,
        LingeringClose(2**20, 10),
        cors,
        large_heads=large_heads or LargeHeads(),
    )
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
    here, there = socket.socketpair()
    transport, _ = await loop.connect_accepted_socket(
        lambda: HttpConnection(shared, config=config, server_state=ServerState(), app_state={}, _loop=loop),
        there,
    )
    reader, writer = await asyncio.open_connection(sock=here)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        transport.abort()
        await asyncio.sleep(1000)  # until nothing is under way any more


def answering(
    seconds: float = 0, first: Callable[[ClientConnection], Awaitable[None]] | None = None
) -> ASGIApp:
    """An application that answers with the path, after some seconds, and does something first."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if first is not None:
            await first(connection_of(scope))
        await asyncio.sleep(seconds)
        await Response(scope["path"])(scope, receive, send)

    return app


def clock() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


# --- deadlines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT", GET[:-2]], ids=str)
async def test_a_head_that_is_not_complete_in_time_is_refused(sent: bytes) -> None:
    """With a 408 if anything of it has come, else without a word."""
    async with connected(answering()) as client:
        began = clock()
        client.send(sent)
        came = await client.rest()
        assert came.startswith(b"HTTP/1.1 408 ") == bool(sent)
        assert clock() - began == pytest.approx(HEAD_TIMEOUT_S, abs=0.1)


async def test_an_idle_connection_is_closed() -> None:
    """Some seconds after the last answer, each of which began that time anew."""
    async with connected(answering()) as client:
        for _ in range(2):
            await asyncio.sleep(IDLE_TIMEOUT_S - 1)
            client.send(GET)
            assert await client.answer() == (200, b"/")
        began = clock()
        assert await client.rest() == b""
        assert clock() - began == pytest.approx(IDLE_TIMEOUT_S)


async def test_a_request_that_takes_long_is_not_idle() -> None:
    """No deadline of the connection ends it."""
    async with connected(answering(seconds=100)) as client:
        client.send(GET)
        assert await client.answer() == (200, b"/")


async def test_of_unfinished_heads_only_so_many_may_be_large() -> None:
    """The next one has one refused, of the address that has most; a complete head is none of them."""
    heads = LargeHeads()
    for number in range(MAX_LARGE_HEADS - 1):
        heads.add(Elsewhere(str(number)))
    async with connected(answering(), large_heads=heads) as client:
        client.send(GET[:-2] + b"A: " + b"b" * 6000 + b"\r\n\r\n")
        assert await client.answer() == (200, b"/")
        heads.add(other := Elsewhere("more"))
        heads.remove(other)
        client.send(GET[:-2] + b"A: " + b"b" * 6000)
        await settle()
        heads.add(Elsewhere(""))
        assert (await client.answer())[0] == 408
        assert await client.rest() == b""


# --- a client that sends no more ------------------------------------------------------------------------


async def test_who_sends_no_more_gets_every_answer() -> None:
    """Also those to requests that had to wait for their turn; then the connection ends."""
    async with connected(answering(seconds=3)) as client:
        client.send(GET + GET)
        await settle()
        client.shut()
        began = clock()
        assert [await client.answer() for _ in range(2)] == [(200, b"/")] * 2
        assert await client.rest() == b""
        assert clock() - began == pytest.approx(6)


@pytest.mark.parametrize("marked", ["before", "after"])
async def test_an_answer_that_waits_for_the_client_ends_with_its_sending_side(marked: str) -> None:
    """Whether it was marked before the client sent no more, or only afterwards."""
    left: list[float] = []

    async def mark(connection: ClientConnection) -> None:
        connection.on_disconnect(lambda: left.append(clock()))
        await asyncio.sleep(0 if marked == "before" else 7)
        connection.treat_eof_as_disconnect()

    async with connected(answering(100, mark)) as client:
        client.send(GET)
        await asyncio.sleep(5)
        client.shut()
        assert await client.rest() == b""
        await settle()
        assert left == [clock()]


async def test_the_mark_is_of_one_request() -> None:
    """The next request of the connection is answered though its client sends no more."""
    marked = iter([True, False])

    async def mark_the_first(connection: ClientConnection) -> None:
        if next(marked):
            connection.treat_eof_as_disconnect()

    async with connected(answering(1, mark_the_first)) as client:
        client.send(GET)
        assert await client.answer() == (200, b"/")
        client.send(GET)
        await settle()
        client.shut()
        assert await client.answer() == (200, b"/")


# --- disconnects ----------------------------------------------------------------------------------------


async def test_a_disconnect_is_told_once_though_nobody_reads() -> None:
    """To whoever asked for it last; and at once where the connection is closing already."""
    calls: list[str] = []
    seen: list[ClientConnection] = []

    async def watch(connection: ClientConnection) -> None:
        connection.on_disconnect(lambda: calls.append("first"))
        connection.on_disconnect(lambda: calls.append("second"))
        seen.append(connection)

    async with connected(answering(100, watch)) as client:
        client.send(UPLOAD + b"4\r\n\r\n")
        await settle()
        assert calls == []
        client.writer.transport.abort()
        await settle()
        assert calls == ["second"]
        seen[0].on_disconnect(lambda: calls.append("late"))
        assert calls == ["second", "late"]


async def test_who_asks_no_more_is_told_nothing() -> None:
    """None takes the callback back."""
    calls: list[str] = []

    async def watch(connection: ClientConnection) -> None:
        connection.on_disconnect(lambda: calls.append("told"))
        connection.on_disconnect(None)

    async with connected(answering(100, watch)) as client:
        client.send(UPLOAD + b"4\r\n\r\n")
        await settle()
        client.writer.transport.abort()
        await settle()
    assert calls == []


# --- what makes no sense --------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1, 2 * HEAD_TIMEOUT_S])
async def test_garbage_is_refused_after_the_answers_before_it(seconds: float) -> None:
    """As garbage, however long they take, and though more of it comes meanwhile."""
    async with connected(answering(seconds)) as client:
        client.send(GET + GARBAGE)
        await settle()
        client.send(GARBAGE)
        assert await client.answer() == (200, b"/")
        status, _ = await client.answer()
        assert status == 400
        assert await client.rest() == b""


async def test_half_a_head_does_not_end_the_request_before_it() -> None:
    """It is refused in its turn, however long the request before it takes."""
    async with connected(answering(2 * HEAD_TIMEOUT_S)) as client:
        client.send(GET + GET[:-2])
        assert await client.answer() == (200, b"/")
        status, _ = await client.answer()
        assert status == 408
        assert await client.rest() == b""


async def test_a_broken_body_is_a_client_that_is_gone() -> None:
    """To the application; the client gets a 400."""
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            pass
        told.append(message["type"])

    async with connected(app) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        assert (await client.answer())[0] == 400
    assert told == ["http.disconnect"]


async def test_an_upgrade_is_ignored() -> None:
    """The request is answered as if it had not been asked for, and so is the next one."""
    async with connected(answering()) as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
        assert [await client.answer() for _ in range(2)] == [(200, b"/a"), (200, b"/")]


# --- pipelined requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sends no more", "is gone"])
async def test_a_client_that_leaves_is_noticed_while_its_next_requests_wait(way: str) -> None:
    """Nothing is read meanwhile, so the socket is looked at now and then."""
    left: list[float] = []

    async def mark(connection: ClientConnection) -> None:
        connection.on_disconnect(lambda: left.append(clock()))
        connection.treat_eof_as_disconnect()

    async with connected(answering(100, mark)) as client:
        client.send(GET * 1000)
        await asyncio.sleep(5)
        began = clock()
        if way == "is gone":
            client.writer.transport.abort()
        else:
            client.shut()
        await asyncio.sleep(3)
        assert left
        assert left[0] - began < 2


async def test_a_client_that_waits_for_answers_may_send_no_more() -> None:
    """Who did not ask for a stream gets all answers, however long it has sent nothing."""
    async with connected(answering(10)) as client:
        client.send(GET * 3)
        await settle()
        client.shut()
        assert [await client.answer() for _ in range(3)] == [(200, b"/")] * 3
        assert await client.rest() == b""


async def test_requests_in_a_row_leave_time_for_others() -> None:
    """Each iteration of the loop refuses a few, in whatever pieces they come."""
    refused, between = 0, []

    def refuse(scope: Scope, target: bytes) -> RawResponse | None:
        nonlocal refused
        refused += 1
        return refuse_uploads(scope, target)

    async def others() -> None:
        while True:
            before = refused
            await asyncio.sleep(0)
            between.append(refused - before)

    async with connected(answering(), refuse) as client:  # type: ignore[arg-type]
        other = asyncio.create_task(others())
        client.send((UPLOAD + b"0\r\n\r\n") * 500 + GET)
        for _ in range(500):
            assert (await client.answer())[0] == 503
        assert await client.answer() == (200, b"/")
        other.cancel()
    assert max(between) < 10


async def test_who_reads_no_answers_is_asked_nothing_more() -> None:
    """Refusals by the head alone wait for the client to read those before."""
    refused = 0

    def refuse(scope: Scope, target: bytes) -> RawResponse | None:
        nonlocal refused
        refused += 1
        return refuse_uploads(scope, target)

    async with connected(answering(), refuse) as client:  # type: ignore[arg-type]
        client.pause()
        client.send((UPLOAD + b"0\r\n\r\n") * 20_000)
        await asyncio.sleep(3)
        assert refused < 10_000
        client.resume()
        for _ in range(20_000):
            assert (await client.answer())[0] == 503


@pytest.mark.parametrize("first", [GET, CHUNKED + b"1\r\na\r\n0\r\n\r\n"], ids=["head", "chunked body"])
async def test_the_end_of_a_request_may_come_in_two_pieces(first: bytes) -> None:
    """However the input is cut, each of the requests behind it is answered."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await Response(b"/")(scope, receive, send)

    for cut in range(len(first) - 5, len(first)):
        async with connected(app) as client:
            client.send(first[:cut])
            await settle()
            client.send(first[cut:] + GET * 3)
            for _ in range(4):
                assert await asyncio.wait_for(client.answer(), 10) == (200, b"/")


async def test_of_requests_in_a_row_no_more_is_read_than_is_answered() -> None:
    """Each answer makes room for as many bytes as its request had, not for another read."""
    async with connected(answering(1)) as client:
        client.send(GET * 40_000)
        for _ in range(200):
            await client.answer()
        assert client.unsent > 39_000 * len(GET) - 400_000  # which is more than the sockets hold


# --- what follows the head ------------------------------------------------------------------------------


async def test_trailer_fields_are_no_header_fields() -> None:
    """Whoever keeps appending to a body cannot name a client, or another's token."""
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        seen.extend(name for name, _ in scope["headers"])
        await Response("read")(scope, receive, send)

    async with connected(app) as client:
        client.send(CHUNKED + b"4\r\nbody\r\n")
        await settle()
        client.send(
            b"0\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: x\r\nExpect: 100-continue\r\n\r\n" + GET
        )
        assert await client.answer() == (200, b"read")
        assert await client.answer() == (200, b"read")
    assert seen == [b"host", b"transfer-encoding", b"host"]


@pytest.mark.parametrize(
    "line", [b"A: b\r\n" * 20, b"A: " + bytes(9000).replace(b"\0", b"b") + b"\r\n"], ids=["many", "large"]
)
async def test_trailer_fields_count_with_the_head(line: bytes) -> None:
    """More of them, in all, than a head may have are refused."""
    async with connected(answering(100)) as client:
        client.send(CHUNKED + b"4\r\nbody\r\n0\r\n" + line * 300)
        assert (await client.answer())[0] == 431


async def test_empty_lines_in_a_chunked_body_are_content() -> None:
    """They also end a body, so the input is cut there."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await Response(b"%d" % len(body))(scope, receive, send)

    async with connected(app) as client:
        client.send(
            CHUNKED + b"10\r\n" + b"\r\n\r\n" * 4 + b"\r\n" + b"4\r\n\r\n\r\n\r\n" * 5000 + b"0\r\n\r\n" + GET
        )
        assert await client.answer() == (200, b"20016")
        assert await client.answer() == (200, b"0")


MESSAGES = {
    GET: (200, b"0"),
    b"\r\n" + GET: (200, b"0"),
    UPLOAD + b"0\r\n\r\n": (503, b"no"),
    UPLOAD + b"13\r\n\r\nin\r\n\r\nbetween": (503, b"no"),
    UPLOAD.replace(b"/upload", b"/") + b"12\r\n\r\n\r\n\r\nGET / HT": (200, b"12"),
    CHUNKED + b"0\r\n\r\n": (200, b"0"),
    CHUNKED + b"4\r\n\r\n\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n": (200, b"9"),
    CHUNKED + b"5\r\nhello\r\n0\r\nHost: b\r\nExpect: 100-continue\r\n\r\n": (200, b"5"),
    GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n": (200, b"0"),
    UPLOAD.replace(b"/upload", b"/") + b"3\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nabc": (200, b"3"),
}
"""Requests, and what is answered to each: the length of its body, or an early rejection."""


@pytest.mark.parametrize("seed", range(20))
async def test_requests_are_found_however_their_bytes_are_cut(seed: int) -> None:
    """Each is answered in order, whatever is in a body, and whatever pieces come at once."""
    chance = random.Random(seed)  # noqa: S311 - it cuts bytes

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if chance.random() < 0.3:
            await asyncio.sleep(0.1)
        body = await Request(scope, receive).body()
        await Response(b"%d" % len(body))(scope, receive, send)

    requests = chance.choices(list(MESSAGES), k=150)
    rest = b"".join(requests)
    async with connected(app, refuse_uploads) as client:  # type: ignore[arg-type]
        while rest:
            cut = chance.choice([1, 2, 3, 50, 500, 5000])
            client.send(rest[:cut])
            rest = rest[cut:]
            if chance.random() < 0.5:
                await settle()
        assert [await client.answer() for _ in requests] == [MESSAGES[each] for each in requests]


# --- heads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [8193, 20_000, 40_000, 400_000])
async def test_a_long_target_is_refused_as_such(length: int) -> None:
    """Also if the whole head is too large for it."""
    async with connected(answering()) as client:
        client.send(b"GET /" + b"a" * (length - 1) + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer())[0] == 414


async def test_a_target_may_have_8_kib() -> None:
    """As RFC 9110 recommends, whatever pieces it comes in."""
    async with connected(answering()) as client:
        for piece in (b"GET /" + b"a" * 4000, b"b" * 4191, b" HTTP/1.1\r\nHost: a\r\n\r\n"):
            client.send(piece)
            await settle()
        assert await client.answer() == (200, b"/" + b"a" * 4000 + b"b" * 4191)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n%bHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n%bno colon\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n%b\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n%b" + b"A: b\r\n" * 300, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n%b\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\n%bA: b", 408),
        (CHUNKED[:-2] + b"%b\r\nnonsense\r\n", 400),
    ],
    ids=str,
)
async def test_pages_of_other_origins_may_read_why_a_head_is_refused(request_: bytes, status: int) -> None:
    """Where they may read other answers."""
    async with connected(answering(5), cors=CorsFields(["https://a.example"], ["X"])) as client:
        client.send(request_ % b"Origin: https://a.example\r\n")
        assert (await client.answer())[0] == status
        assert b"\r\naccess-control-allow-origin: https://a.example\r\n" in client.head
    async with connected(answering(5)) as client:
        client.send(request_ % b"Origin: https://a.example\r\n")
        assert (await client.answer())[0] == status
        assert b"access-control" not in client.head


@pytest.mark.parametrize(("version", "interim"), [(b"1.1", True), (b"1.0", False)])
async def test_old_http_gets_no_interim_answer(version: bytes, interim: bool) -> None:
    """Its clients do not know any (RFC 9110, 10.1.1)."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await Response(body)(scope, receive, send)

    async with connected(app) as client:
        client.send(UPLOAD.replace(b"1.1", version) + b"4\r\nExpect: 100-continue\r\n\r\n")
        await settle()
        client.send(b"body")
        client.shut()
        assert (await client.rest()).startswith(b"HTTP/1.1 100 " if interim else b"HTTP/1.1 200 ")


async def test_a_request_that_the_end_of_the_loop_cancels_is_cut_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A second signal ends the service at once: that is no error of the application, and no answer."""
    tasks: list[asyncio.Task[None] | None] = []

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.Event().wait()

    async with connected(app) as client:
        client.send(GET)
        await settle()
        (task,) = tasks
        assert task is not None
        task.cancel()
        await asyncio.wait([task])
        assert await client.rest() == b""
    assert not caplog.records


# --- answers before the body ----------------------------------------------------------------------------


def refuse_uploads(_: Scope, target: bytes) -> RawResponse | None:
    """An early rejection of every upload."""
    response = Response("no", 503)
    return RawResponse.of(response) if target == b"/upload" else None


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    ("length", "rest", "statuses"),
    [
        (b"4\r\n\r\n", b"body", [503, 200]),
        (b"65536\r\n\r\n", bytes(65536), [503, 200]),
        (b"65537\r\n\r\n", bytes(65537), [503]),
        (b"4\r\nExpect: 100-continue\r\n\r\n", b"", [503]),
        (b"4\r\nConnection: close\r\n\r\n", b"body", [503]),
    ],
    ids=["small", "just small enough", "too large", "waits to be told", "last"],
)
async def test_a_refused_body_is_skipped_or_ends_the_connection(
    early: bool, length: bytes, rest: bytes, statuses: list[int]
) -> None:
    """By the head alone or by the application: the next request is answered if little was left to skip."""

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        status = 503 if scope["path"] == "/upload" else 200
        await Response("no", status)(scope, receive, send)

    async with connected(refusing, refuse_uploads if early else None) as client:  # type: ignore[arg-type]
        client.send(UPLOAD + length)
        assert (await client.answer())[0] == statuses[0]
        if rest:
            client.send(rest + GET)
        if len(statuses) > 1:
            assert (await client.answer())[0] == statuses[1]
        else:
            assert await client.rest() == b""


async def test_a_body_that_is_read_is_no_obstacle() -> None:
    """However large it is."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await Response(b"%d" % len(body))(scope, receive, send)

    async with connected(app) as client:
        client.send(UPLOAD + b"300000\r\n\r\n" + bytes(300_000) + GET)
        assert [await client.answer() for _ in range(2)] == [(200, b"300000"), (200, b"0")]
