"""HTTP/1.1 on a socket: uvicorn's httptools protocol, with the bounds that it leaves to others.

What is added: a deadline and a size limit for request headers, a deadline for what is left of a body after
its answer, a least rate at which answers must be read, a bound on connections, problem documents instead of
plain text, lingering, so that a refused client sees why, and a turnstile, which refuses before there is
anything of a request but its head.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.server.connection_limit import make_room
from app.server.fast_reject import FastReject, RawResponse, field_line
from app.server.lingering_close import LingeringClose
from app.server.problems import KINDS, Problem, render
from app.server.read_buffer import SMALL_READ, ReadBuffer
from app.server.slow_readers import SlowReaders, SlowReaderWatch

HEADER_TIMEOUT = 10.0
"""Seconds for a whole request head."""
HEADER_BYTES = 32 * 1024
HEADER_FIELDS = 256
IDLE_TIMEOUT = 5.0
"""Seconds between requests of a connection, and for the rest of a body whose answer is out."""
SMALL_BODY = 64 * 1024
"""Bytes left of a refused body that are read and forgotten so that the connection can live on."""


class _HeadRefused(Exception):
    """Raised in the parser's callbacks, for what the parser itself lets pass."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail


def _head_too_large() -> _HeadRefused:
    detail = f"The headers are larger than {HEADER_BYTES} bytes, or more than {HEADER_FIELDS}."
    return _HeadRefused("headers-too-large", detail)


class _AnswerTransport:
    """What an answer is written to: closing it before the request's body has come lingers."""

    def __init__(self, protocol: "HttpConnection", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def write(self, data: bytes) -> None:
        # A connection that was reset is closed before it is said to be lost: uvloop raises in between.
        if not self._protocol.transport.is_closing():
            self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.close_after_answer(self._cycle)


class HttpConnection(HttpToolsProtocol):
    """One connection. `linger`, `outflows` and `turnstile` are shared by all; there may be `most` at once."""

    linger: LingeringClose
    outflows: SlowReaders
    fast_reject: FastReject
    most: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._due = math.inf
        self._when_due: Callable[[], None] = self._close
        self._timer: asyncio.TimerHandle | None = None
        self.in_head = True
        """Whether the next bytes belong to a head."""
        self._head_bytes = 0
        """Bytes received while a head is incomplete, whatever they turn out to be."""
        self._field_bytes = 0
        """Bytes of the head's target and fields as they were parsed."""
        self._plain_head = b""
        """Of a request to change the protocol: its head without that, which is yet to be parsed."""
        self._body_left = 0
        self._turned_away = False
        """Whether the request whose body comes was answered by its head alone."""
        self._last = False
        """Whether the connection ends with that body."""
        self._lingering = False
        self._unasked = False
        """Whether the answer went out before the client was told to go on with its body."""
        self._running: RequestResponseCycle | None = None
        self._heard_all = False
        """Whether the client sends no more, and only waits for answers."""
        self._owed: tuple[str, str] | None = None
        """A refusal that waits for the answers to the requests before it."""
        self._on_departure: Callable[[], Any] | None = None

    # --- deadlines -------------------------------------------------------------------------------------

    def _arm(self, seconds: float, call: Callable[[], None]) -> None:
        """Call so many seconds from now, unless armed anew or disarmed before.

        Requests do so several times each; the timer stays as it is for as long as it is not too late.
        """
        self._due = self.loop.time() + seconds
        self._when_due = call
        if self._timer is None or self._timer.when() > self._due:
            self._set_timer()

    def _disarm(self) -> None:
        self._due = math.inf

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if self._due == math.inf else self.loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        if self._due > self.loop.time():
            self._set_timer()
        else:
            self._timer = None
            self._when_due()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
            self._see_off()

    def _see_off(self) -> None:
        """A connection that is being closed must be read from until all is sent."""
        if self.transport.get_write_buffer_size():
            self._outflow.watch()

    def _head_too_slow(self) -> None:
        if self._head_bytes:
            self._refuse("request-timeout", f"The headers took longer than {HEADER_TIMEOUT:.0f} s.")
        else:
            self._close()

    # --- the connection --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._read_buffer = ReadBuffer(self)
        transport.set_protocol(self._read_buffer)
        self._outflow = SlowReaderWatch(self.outflows, self.peer, transport, self.loop)
        self._arm(HEADER_TIMEOUT, self._head_too_slow)
        if len(self.connections) > self.most:
            make_room(self.connections, self.most)  # type: ignore[arg-type]

    @property
    def peer(self) -> str:
        """The address at the other end."""
        return self.client[0] if self.client else ""

    @property
    def idle_until(self) -> float | None:
        """When it would be closed for want of a request; None while there is one."""
        served = self._running is None or self._running.response_complete
        idle = self.in_head and served and not self._lingering and not self.transport.is_closing()
        return self._due if idle else None

    def leave(self) -> None:
        """Make room for others."""
        self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._outflow.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._outflow.rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._outflow.rest()
        self._disarm()
        self._set_timer()
        super().connection_lost(exc)
        if self._on_departure is not None:
            self._on_departure()

    def watch(self, call: Callable[[], Any] | None) -> None:
        """Have something called when the connection is lost, though nobody reads from it."""
        self._on_departure = call
        if call is not None and self.transport.is_closing():
            call()

    def treat_eof_as_disconnect(self) -> None:
        """Still decided by the path, in `eof_received`."""

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. Whether to keep the connection for the answer it may still be reading.

        Leaving for good looks the same from here, so what waits or streams takes it for that: it would
        otherwise be held for somebody who is gone.
        """
        cycle = self._running
        if cycle is None or cycle.response_complete or cycle.more_body or self._lingering:
            return False
        scope = cycle.scope  # the connection's own may be of a later request, half parsed
        held = scope["path"].endswith(("/events", "/stream"))
        if held or any(name == b"prefer" for name, _ in scope["headers"]):
            return False
        self._heard_all = True
        if not self.pipeline:
            cycle.keep_alive = False
        return True

    def data_received(self, data: memoryview) -> None:  # type: ignore[override]
        if self._lingering or self._owed is not None or self.parser is None:
            return
        if self.in_head:
            self._head_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            refused = error.__context__
            if not isinstance(refused, _HeadRefused):
                too_large = self._head_bytes > HEADER_BYTES
                wrong = _HeadRefused("bad-request", "This is not a valid HTTP request.")
                refused = _head_too_large() if too_large else wrong
            self._refuse(refused.slug, refused.detail)
            return
        if self.in_head and self._head_bytes > HEADER_BYTES:
            refused = _head_too_large()
            self._refuse(refused.slug, refused.detail)

    def _parse(self, data: memoryview) -> None:
        """Let the parser have it.

        Behind the head of a request for another protocol the parser sees that protocol, and in the request's
        own body the next request. No other is spoken here: it gets the same head anew, without that wish.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            else:
                return
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(self._plain_head)

    def _refuse(self, slug: str, detail: str) -> None:
        """Answer what is not, or not yet, a request, and close."""
        if self._lingering or self.transport.is_closing():
            return
        running = self._running
        if running is not None and not running.response_complete:
            if not running.more_body:
                self._owed = slug, detail
                return
            # The body of this very request is what makes no sense: for the application its client is gone.
            running.disconnected = True
            running.message_event.set()
            if running.response_started:
                self._close()
                return
        self._write(RawResponse.of(render(Problem(KINDS[slug], detail))), close=True)
        self._hand_to_linger()

    def _write(self, wire: RawResponse, *, close: bool) -> None:
        """Write an answer for which there is no cycle."""
        default = b"".join(map(field_line, self.server_state.default_headers))
        end = b"connection: close\r\n\r\n" if close else b"\r\n"
        self.transport.write(b"".join((wire.head, default, end, wire.body)))

    def _turn_away(self, wire: RawResponse) -> None:
        """Answer a request by its head, and see that the client can read it even if it writes on."""
        waits = self.expect_100_continue and self._body_left > 0
        small = self._body_left <= SMALL_BODY
        persistent = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self._turned_away = True
        self._last = waits or not (small and persistent)
        self._write(wire, close=self._last)
        self.server_state.total_requests += 1
        if waits:
            self._close()
        elif small:
            self._arm(IDLE_TIMEOUT, self._close)  # what little there is of its body is parsed and forgotten
        else:
            self._hand_to_linger()

    def _hand_to_linger(self) -> None:
        self._disarm()
        self._lingering = True
        if self._running is not None:
            self._running.body.clear()  # what came of it already: hundreds may linger, and nobody reads it
        self.linger.add(self.transport)

    def close_after_answer(self, cycle: RequestResponseCycle) -> None:
        """Close after an answer, in a way that lets a client that still writes see it."""
        if cycle.more_body and not self._unasked:
            self._hand_to_linger()
        else:
            self._close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # --- the parser's callbacks ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._field_bytes = 0
        self._arm(HEADER_TIMEOUT, self._head_too_slow)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._field_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > HEADER_BYTES or len(self.headers) > HEADER_FIELDS:
            raise _head_too_large()

    def on_headers_complete(self) -> None:
        if self._field_bytes > HEADER_BYTES:
            raise _head_too_large()
        self._plain_head = self._without_upgrade() if self.parser.should_upgrade() else b""
        if self._plain_head:
            return
        self._read_framing()
        self._disarm()
        self.in_head = False
        self._head_bytes = 0
        if self._lingering or self.transport.is_closing():
            self._turned_away = True  # what follows the last request of a connection is nobody's
            return
        # Behind a request that is not answered yet, the bouncer refuses when it is this one's turn.
        unoccupied = not self.pipeline and (self._running is None or self._running.response_complete)
        if unoccupied and not self.flow.write_paused and self.parser.get_method() == b"POST":
            refusal = self.fast_reject(self.scope, self.url)  # type: ignore[arg-type]
            if refusal is not None:
                self._turn_away(refusal)
                return
        self.scope["state"] |= {
            "watch": self.watch,
            "read_buffer": self._read_buffer,
            "connection": self,
        }
        super().on_headers_complete()
        self.cycle.transport = _AnswerTransport(self, self.cycle)  # type: ignore[assignment]
        if self._body_left:
            self.cycle.send = self._deciding(self.cycle)  # type: ignore[assignment, method-assign]

    def _without_upgrade(self) -> bytes:
        """The head as it came, but for the wish to change the protocol."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise _HeadRefused("bad-request", "This is no proxy.")
        line = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        return (
            line + b"".join(field_line(field) for field in self.headers if field[0] != b"upgrade") + b"\r\n"
        )

    def _read_framing(self) -> None:
        """Check version and host; `_body_left` is how much follows, infinite when it is not said."""
        hosts = 0
        self._body_left = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                self._body_left = int(value)
            elif name == b"transfer-encoding":
                self._body_left = 1 << 62
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _HeadRefused("bad-request", "HTTP/1.1 is spoken here, and HTTP/1.0.")
        if hosts != 1 and (hosts or version == "1.1"):
            raise _HeadRefused("bad-request", "An HTTP/1.1 request names its Host once (RFC 9112, 3.2).")

    def _deciding(self, cycle: RequestResponseCycle) -> Callable[[ASGISendEvent], Any]:
        """`send` that closes the connection after an answer that came before a body worth reading."""
        send = cycle.send

        async def deciding(message: ASGISendEvent) -> None:
            if not cycle.response_started and cycle.more_body:
                self._unasked = cycle.waiting_for_100_continue
                if self._unasked or self._body_left > SMALL_BODY:
                    cycle.keep_alive = False
            await send(message)

        return deciding

    def on_body(self, body: bytes) -> None:
        if self._turned_away:
            return
        self._body_left -= len(body)
        super().on_body(body)
        if len(self.cycle.body) >= SMALL_READ and not self.cycle.response_complete:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if self._lingering or self._plain_head:
            return
        self.in_head = True
        self._head_bytes = 0
        if self._turned_away:
            self._turned_away = False
            if self._last:
                self._close()
            else:
                self._arm(IDLE_TIMEOUT, self._close)
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._arm(IDLE_TIMEOUT, self._close)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._lingering:
            return
        if self._owed is not None and self.pipeline and self.pipeline[-1][0].more_body:
            self.pipeline.clear()  # the body of the next request is what makes no sense
        if self.transport.is_closing():
            self._see_off()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._owed is not None:
            self._refuse(*self._owed)
        elif self._heard_all:
            self._close()
        else:
            self._arm(IDLE_TIMEOUT, self._close)
