"""HTTP/1.1 on a socket: uvicorn's httptools protocol with the bounds that uvicorn leaves to others.

Added are: a deadline and a size limit for request heads, a deadline for the rest of a body whose answer has
been sent, a minimum rate at which answers must be read, a limit on connections, problem documents instead
of plain text, lingering close, and early rejection: an answer to the head alone, without running the
application. uvicorn's queue of pipelined requests is never used: a request is parsed when those before it
have been answered. What came with them is held as bytes until then (`PiecewiseInput`), and nothing more is
read.
"""
# size: it is one state machine, whose states are in connection_state

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.server import head_checks, request_id
from app.server.answer import MAX_SKIPPED_BODY, Answer, answer_request
from app.server.body_messages import BodyMessages
from app.server.connection_limit import make_room
from app.server.connection_state import UNPARSED, Input, SharedParts
from app.server.deadline import Deadline
from app.server.flow import ReadFlow
from app.server.head_checks import (
    MAX_HEAD_BYTES,
    MAX_HEAD_FIELDS,
    MAX_TARGET_BYTES,
    UNKNOWN_LENGTH,
    HeadRefused,
    head_too_large,
)
from app.server.piecewise_input import PiecewiseInput
from app.server.problems import KINDS, Problem
from app.server.raw_response import RawResponse, field_line
from app.server.read_buffer import HEAD_READ, SMALL_READ, ReadBuffer
from app.server.slow_readers import SlowReaderWatch

HEAD_TIMEOUT_S = 10.0
"""Seconds for a whole request head."""
IDLE_TIMEOUT_S = 5.0
"""Seconds between two requests of a connection, and for the rest of a body whose answer has been sent."""
SMALL_CHUNK = 128
"""Bytes that the chunks of a body must have on average, apart from the credit: each costs time of its own."""
SMALL_CHUNK_CREDIT = 8192 * SMALL_CHUNK


class HttpConnection(HttpToolsProtocol):
    """One connection, and the `ClientConnection` of each of its requests."""

    flow: ReadFlow

    def __init__(self, shared: SharedParts, *args: Any, **kwargs: Any) -> None:
        """`args` and `kwargs` are those of uvicorn."""
        super().__init__(*args, **kwargs)
        self._shared = shared

        # Per-connection state
        self._input = Input.HEAD
        self._pieces = PiecewiseInput()
        self._deadline = Deadline(self.loop)
        self._read_buffer = ReadBuffer(self)
        self._slow_reader_watch: SlowReaderWatch = None  # type: ignore[assignment]  # as uvicorn does
        self._on_disconnect: Callable[[], Any] | None = None

        # Per-request state, of the request that is being received
        self._head_received = 0  # bytes since its head began, parsed or not
        self._target_bytes = 0
        self._head_parsed = 0  # bytes of its target and fields, and of its trailer fields
        self._plain_head = b""  # its head without Upgrade, if that is to be parsed next
        self.body_left = 0  # bytes of its body still to come, or `UNKNOWN_LENGTH`
        self._chunk_credit = 0  # bytes that small chunks may still fall short of `SMALL_CHUNK`
        self._is_last = False  # whether the connection ends with it, for one that is answered early

        # Per-request state, of the request that is being answered
        self._eof_is_disconnect = False

    # --- the connection --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = ReadFlow(transport, self.loop, self._eof_while_paused)
        transport.set_protocol(self._read_buffer)
        self._slow_reader_watch = SlowReaderWatch(self._shared.slow_readers, self.peer, transport, self.loop)
        self._deadline.arm(HEAD_TIMEOUT_S, self._head_timed_out)
        if len(self.connections) > self._shared.max_connections:
            has_room = make_room(self.connections, self._shared.max_connections)  # type: ignore[arg-type]
            if not has_room:
                transport.abort()  # the other files are for the store

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove each reference that leads from the connection back to it.

        So it is freed at once, or at the end of its request. The garbage collector would hold up the event
        loop for a tenth of a second after some thousand connections.
        """
        self._slow_reader_watch.stop()
        self._deadline.close()
        self.flow.close()
        self._shared.large_heads.remove(self)
        super().connection_lost(exc)
        on_disconnect, self._on_disconnect = self._on_disconnect, None
        if on_disconnect is not None:
            on_disconnect()

    @property
    def peer(self) -> str:
        """The IP address of the client."""
        return self.client[0] if self.client else ""

    @property
    def in_head(self) -> bool:
        """Whether the next bytes belong to a request head."""
        return self._input is Input.HEAD

    @property
    def _all_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # at first

    @property
    def _is_parsing(self) -> bool:
        """Whether what arrives is looked at."""
        return self._input not in UNPARSED and not self.transport.is_closing()

    @property
    def can_parse(self) -> bool:
        """Whether more may be parsed: of a next request only if the client has read the earlier answers."""
        return self._input is not Input.HEAD or (self._all_answered and not self.flow.write_paused)

    @property
    def idle_until(self) -> float | None:
        """When the connection would be closed for being idle; None while a request is under way."""
        idle = self.in_head and self._all_answered and not self._pieces.held
        idle = idle and not self.transport.is_closing()
        return self._deadline.due if idle else None

    def close_idle(self) -> None:
        """Close the connection to make room for others."""
        self.close()

    def close(self) -> None:
        """Close the connection as soon as what was written has been sent; it must be read until then."""
        if not self.transport.is_closing():
            self.transport.close()
            self._require_reading()

    def linger(self) -> None:
        """Close the connection in a way that lets a client that still sends read the answer first."""
        self._input = Input.LINGERING
        self._deadline.disarm()
        self._pieces.held = b""
        if self.cycle is not None:
            self.cycle.body.clear()  # nobody reads it, and hundreds of connections may linger
        self._shared.large_heads.remove(self)
        self._shared.lingering_close.add(self.transport, self.peer, self.body_left)

    def _require_reading(self) -> None:
        if self.transport.get_write_buffer_size():
            self._slow_reader_watch.start()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._slow_reader_watch.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._slow_reader_watch.stop()
            self._parse_on()

    def _head_timed_out(self) -> None:
        if self._head_received:
            detail = f"The headers took longer than {HEAD_TIMEOUT_S:.0f} s."
            self._refuse(HeadRefused("request-timeout", detail))
        else:
            self.close()

    def refuse_head(self) -> None:
        """Refuse the head that is being received, to make room for others."""
        self._refuse(HeadRefused("request-timeout", "Too many clients send large headers slowly."))

    # --- what endpoints may ask of it: ClientConnection ------------------------------------------------

    @property
    def fast_reading(self) -> bool:
        """Whether the body is read in large pieces."""
        return self._read_buffer.fast

    @fast_reading.setter
    def fast_reading(self, fast: bool) -> None:
        self._read_buffer.fast = fast

    def on_disconnect(self, callback: Callable[[], Any] | None) -> None:
        """Call back when the connection is lost, or at once if it is closing; None: no more."""
        is_closing = self.transport.is_closing()
        self._on_disconnect = None if is_closing else callback
        if callback is not None and is_closing:
            callback()

    def treat_eof_as_disconnect(self) -> None:
        """Close when the client of the request that is being answered sends no more."""
        self._eof_is_disconnect = True
        if self._input is Input.EOF:
            self.close()

    # --- input -----------------------------------------------------------------------------------------

    def data_received(self, data: memoryview) -> None:  # type: ignore[override]
        if self._is_parsing:
            self._pieces.parse(self, data)
        if self._pieces.held:
            self.flow.hold_reading()
            self._parse_on()

    def parse_held(self) -> None:
        """Parse the next request of what is held, if that is still wanted."""
        if self._is_parsing:
            self._pieces.parse_held(self)
        else:
            self._pieces.held = b""
        if self._pieces.held:
            self._parse_on()
        elif self._input is not Input.LINGERING and not self.transport.is_closing():
            self.flow.release_reading()

    def _parse_on(self) -> None:
        """Have more of what is held parsed when it is this connection's turn, if that is possible by now."""
        if self._pieces.held and self.can_parse:
            self._shared.parse_queue.add(self)

    def parse_piece(self, piece: memoryview) -> bool:
        """Feed the parser with no more than the end of this message. Whether to go on.

        It gets heads and chunked bodies. The bytes of a body of a declared length need only be counted.
        """
        in_head = self._input is Input.HEAD
        if not in_head and self.body_left != UNKNOWN_LENGTH:
            self.on_body(piece)
            if not self.body_left:
                self._end_body()
            return self._input not in UNPARSED
        if in_head:
            self._head_received += len(piece)
        try:
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            unparsed = head_checks.origin_in(piece) if in_head else []
            self._refuse(head_checks.refusal_of(error, self._head_received, self._target_bytes), unparsed)
            return False
        if self._head_received > HEAD_READ and self._input is Input.HEAD:
            self._shared.large_heads.add(self)
            if self._head_received > MAX_HEAD_BYTES:
                self._refuse(head_too_large(self._target_bytes))
        return self._input not in UNPARSED

    def _ignore_upgrade(self, rest: memoryview) -> None:
        """Go on behind the head of a request with Upgrade, where the parser has stopped.

        It takes what follows, the `rest` of its input, for another protocol. None is spoken here, so a new
        parser gets the same head without Upgrade, and then the rest.
        """
        while True:
            self._renew_parser()
            self.parser.feed_data(self._plain_head)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            else:
                return

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def _end_body(self) -> None:
        """The end of a body that the parser has not seen. It would take what follows for that body."""
        self.on_message_complete()
        self._renew_parser()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. Whether to keep the connection for the answer it may still read."""
        if self._all_answered or self.cycle.more_body:
            return False
        if self._input is Input.LINGERING or self._eof_is_disconnect:
            return False
        self._input = Input.EOF
        self._deadline.disarm()
        self.cycle.keep_alive = False
        return True

    def _eof_while_paused(self) -> None:
        """The client sends no more than what has not been read yet."""
        if self._eof_is_disconnect and self._input is not Input.LINGERING and not self._all_answered:
            self.close()

    # --- the parser's callbacks ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if not self._all_answered:  # were the input cut at a wrong place, answers would come out of order
            raise HeadRefused("bad-request", "Where this request begins is not clear.")
        super().on_message_begin()
        self._head_received = max(1, self._head_received)  # not counted if it came with another request
        self._target_bytes = self._head_parsed = 0
        if self._input is not Input.LINGERING:
            self._deadline.arm(HEAD_TIMEOUT_S, self._head_timed_out)

    def on_url(self, url: bytes) -> None:
        self._target_bytes += len(url)
        self._head_parsed += len(url)
        if self._target_bytes <= MAX_TARGET_BYTES:  # a longer one is refused when the head is complete
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_parsed += len(name) + len(value) + 4
        if self._head_parsed > MAX_HEAD_BYTES or len(self.headers) > MAX_HEAD_FIELDS:
            raise head_too_large(self._target_bytes)
        if (
            self._input is Input.HEAD
        ):  # else it is a trailer field, and none is defined here (RFC 9110, 6.5.1)
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._head_parsed > MAX_HEAD_BYTES or self._target_bytes > MAX_TARGET_BYTES:
            raise head_too_large(self._target_bytes)
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if self.parser.should_upgrade():
            self._plain_head = head_checks.without_upgrade(method, self.url, version, self.headers)
            return
        self._plain_head = b""
        self.body_left = head_checks.body_length(version, self.headers)
        if not self.url.startswith(b"/"):
            head_checks.host_from_target(self.url, self.headers)
        if version == "1.0":
            self.expect_100_continue = False  # such a client knows no interim answers (RFC 9110, 10.1.1)
        self._deadline.disarm()
        if self._head_received > HEAD_READ:
            self._shared.large_heads.remove(self)
        self._head_received = 0
        if self._input is Input.LINGERING:
            return
        if method == b"POST":
            answer = self._shared.fast_reject(self.scope, self.url)  # type: ignore[arg-type]
            if answer is not None:
                self._answer_early(answer)
                return
        self._input = Input.BODY
        self._chunk_credit = SMALL_CHUNK_CREDIT
        self.scope["state"]["connection"] = self
        super().on_headers_complete()
        written_to = Answer(self, self.cycle)
        self.cycle.transport = written_to  # type: ignore[assignment]
        if self.body_left:
            self.cycle.send = written_to.send  # type: ignore[method-assign]
            self.cycle.receive = BodyMessages(self.cycle, self._read_buffer).receive  # type: ignore[method-assign]

    def on_chunk_header(self) -> None:
        """The size of the next chunk has been read."""
        self._chunk_credit -= SMALL_CHUNK
        if self._chunk_credit < 0 and self._input is Input.BODY:
            raise HeadRefused("bad-request", "The body comes in too many small chunks.")

    def on_body(self, body: bytes | memoryview) -> None:
        if self.body_left != UNKNOWN_LENGTH:
            self.body_left -= len(body)
        if self._input is not Input.BODY:
            return
        self._chunk_credit += len(body)
        super().on_body(body)  # type: ignore[arg-type]  # it is added to a bytearray
        if len(self.cycle.body) >= SMALL_READ and not self.cycle.response_complete:
            self.flow.pause_reading()

    # --- large pieces: ReadBuffer ----------------------------------------------------------------------

    def take_unread(self) -> bytearray:
        unread, self.cycle.body = self.cycle.body, bytearray()
        self.cycle.message_event.clear()
        return unread

    def give_back(self, data: bytes) -> None:
        if not self.cycle.response_complete:
            self.cycle.body += data
            self.cycle.message_event.set()

    def piece_gathered(self) -> None:
        self.cycle.message_event.set()
        if self.body_left:
            self.flow.pause_reading()
        else:
            self._end_body()

    # --- the end of a request --------------------------------------------------------------------------

    def on_message_complete(self) -> None:
        if self._input is Input.LINGERING or self._plain_head:
            return
        dropped = self._input is Input.DROPPED_BODY
        self._input = Input.HEAD
        self._head_received = 0
        if not dropped:
            super().on_message_complete()
            if self.cycle.response_complete:
                self._deadline.arm(IDLE_TIMEOUT_S, self.close)
        elif self._is_last:
            self.close()
        else:
            self._deadline.arm(IDLE_TIMEOUT_S, self.close)

    # --- answers ---------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._eof_is_disconnect = False
        task = self.loop.create_task(answer_request(app, cycle))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._input is Input.LINGERING:
            return
        if self.transport.is_closing():
            self._require_reading()
            return
        self.flow.resume_reading()
        if self._pieces.held:
            self._parse_on()
        else:
            self._deadline.arm(IDLE_TIMEOUT_S, self.close)

    def _refuse(self, refused: HeadRefused, unparsed: head_checks.Fields = ()) -> None:
        """Answer what is not a request, or not yet, and close.

        `unparsed` are further fields that it has, which were not given to the parser. Of all its fields the
        answer depends on Accept, on X-Request-Id, and on Origin for its CORS fields.
        """
        if self._input is Input.LINGERING or self.transport.is_closing():
            return
        if not self._all_answered:
            # The body of this very request makes no sense: to the application its client has disconnected.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.close()
                return
        fields = [*(self.headers or ()), *unparsed]
        method = self.parser.get_method().decode() if self._target_bytes else ""
        accept = [value.decode("latin-1") for name, value in fields if name.lower() == b"accept"]
        sent = request_id.sent_id((name.lower(), value) for name, value in fields)
        problem = Problem(KINDS[refused.slug], refused.detail, members=request_id.members(sent))
        answer = RawResponse.of(self._shared.render_problem(problem, method, accept))
        answer = answer.with_lines(field_line((request_id.FIELD, request_id.id_for(sent))))
        if self._shared.cors is not None:
            answer = answer.with_lines(self._shared.cors.lines(fields))
        self.transport.write(answer.encode(self.server_state.default_headers, keep_alive=False))
        self.linger()

    def _answer_early(self, answer: RawResponse) -> None:
        """Answer a request by its head, so that the client can read the answer even if it sends its body."""
        client_waits = self.expect_100_continue and self.body_left > 0
        small = self.body_left <= MAX_SKIPPED_BODY
        persistent = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        keep_alive = persistent and small and not client_waits
        self._input = Input.DROPPED_BODY
        self._is_last = not keep_alive
        self.transport.write(answer.encode(self.server_state.default_headers, keep_alive=keep_alive))
        self.server_state.total_requests += 1
        if client_waits:
            self.close()
        elif small:
            self._deadline.arm(IDLE_TIMEOUT_S, self.close)
        else:
            self.linger()
