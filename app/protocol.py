"""HTTP/1.1 on a socket: uvicorn's httptools protocol, with the bounds that it leaves to others.

What is added: a deadline and a size limit for request headers, a deadline for what is left of a body after
its answer, problem documents instead of plain text, and lingering, so that a refused client sees why.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.linger import Linger
from app.problems import KINDS, Problem, render

HEADER_TIMEOUT = 10.0
"""Seconds for a whole request head."""
HEADER_BYTES = 32 * 1024
IDLE_TIMEOUT = 5.0
"""Seconds between requests of a connection, and for the rest of a body whose answer is out."""
SMALL_BODY = 64 * 1024
"""Bytes left of a refused body that are read and forgotten so that the connection can live on."""


class _LingeringTransport:
    """What a request with a body writes to: closing it before the body has come lingers."""

    def __init__(self, protocol: "Protocol", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.close_after_answer(self._cycle)


class Protocol(HttpToolsProtocol):
    """One connection. `linger` is shared by all of them."""

    linger: Linger

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0
        self._body_left = 0
        self._lingering = False
        self._unasked = False
        """Whether the answer went out before the client was told to go on with its body."""
        self._running: RequestResponseCycle | None = None
        self._owed: tuple[str, str] | None = None
        """A refusal that waits for the answers to the requests before it."""

    # --- deadlines -------------------------------------------------------------------------------------

    def _arm(self, seconds: float, call: Callable[[], None]) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, call)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _head_too_slow(self) -> None:
        if self._head_bytes:
            self._refuse("request-timeout", f"The headers took longer than {HEADER_TIMEOUT:.0f} s.")
        else:
            self._close()

    # --- the connection --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(HEADER_TIMEOUT, self._head_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. Whether to keep the connection for the answer it may still be reading.

        Leaving for good looks the same from here, so what waits or streams takes it for that: it would
        otherwise be held for somebody who is gone.
        """
        cycle = self._running
        if cycle is None or cycle.response_complete or cycle.more_body or self._lingering:
            return False
        held = self.scope["path"].endswith(("/events", "/stream"))
        if held or any(name == b"prefer" for name, _ in self.headers):
            return False
        if not self.pipeline:
            cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        if self._lingering or self._owed is not None or self.parser is None:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # no other protocol is spoken here: the request is answered as it stands
        except httptools.HttpParserError:
            if self._head_bytes > HEADER_BYTES:
                self._refuse_head()
            else:
                self._refuse("bad-request", "This is not a valid HTTP request.")
            return
        if self._in_head and self._head_bytes > HEADER_BYTES:
            self._refuse_head()

    def _refuse_head(self) -> None:
        self._refuse("headers-too-large", f"The headers are larger than {HEADER_BYTES} bytes.")

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
                self.transport.close()
                return
        response = render(Problem(KINDS[slug], detail))
        lines = [STATUS_LINE[response.status_code]]
        for name, value in [*self.server_state.default_headers, *response.raw_headers]:
            lines += [name, b": ", value, b"\r\n"]
        lines += [b"connection: close\r\n\r\n", bytes(response.body)]
        self.transport.write(b"".join(lines))
        self._hand_to_linger()

    def _hand_to_linger(self) -> None:
        self._disarm()
        self._unset_keepalive_if_required()
        self._lingering = True
        self.linger.add(self.transport)

    def close_after_answer(self, cycle: RequestResponseCycle) -> None:
        """Close after an answer, in a way that lets a client that still writes see it."""
        if cycle.more_body and not self._unasked:
            self._hand_to_linger()
        else:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # --- the parser's callbacks ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arm(HEADER_TIMEOUT, self._head_too_slow)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > 256:
            self._head_bytes = HEADER_BYTES + 1
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEADER_BYTES:
            self._head_bytes = size
            raise ValueError("headers too large")
        self._disarm()
        self._in_head = False
        self._head_bytes = 0
        earlier = self.cycle
        super().on_headers_complete()
        if self.cycle is not earlier and self._announces_body():
            self.cycle.transport = _LingeringTransport(self, self.cycle)  # type: ignore[assignment]
            self.cycle.send = self._deciding(self.cycle)  # type: ignore[assignment, method-assign]

    def _announces_body(self) -> bool:
        """Whether a body follows; `_body_left` is how much of it, infinite when it does not say."""
        self._body_left = 0
        for name, value in self.headers:
            if name == b"content-length":
                self._body_left = int(value)
            elif name == b"transfer-encoding":
                self._body_left = 1 << 62
        return self._body_left > 0

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
        self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0
        if self.cycle.response_complete and not self._lingering:
            self._arm(IDLE_TIMEOUT, self._close)

    def on_response_complete(self) -> None:
        if self._lingering:
            self.server_state.total_requests += 1
            return
        if self._owed is not None and self.pipeline and self.pipeline[-1][0].more_body:
            self.pipeline.clear()  # the body of the next request is what makes no sense
        last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing() or not last:
            return
        if self._owed is not None:
            self._refuse(*self._owed)
        else:
            self._arm(IDLE_TIMEOUT, self._close)
