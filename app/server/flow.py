"""When a connection is read from: uvicorn's flow control, and what it lacks."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

from app.server.transport_socket import peer_state

CHECK_INTERVAL_S = 1.0
"""Seconds between looks at the peer of a connection that is not read from."""


class ReadFlow(FlowControl):
    """Lets reading be held, and notices that the client has left while nothing is read.

    uvicorn resumes reading after each answer and whenever the application waits for a body. While bytes are
    left that were read and not parsed yet, that would take memory without bound.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, on_eof: Callable[[], None]
    ) -> None:
        """`on_eof` is called now and then while the client sends no more and reading is paused.

        A broken connection is aborted instead.
        """
        super().__init__(transport)
        self._loop = loop
        self._on_eof = on_eof
        self._held = False
        self._timer: asyncio.TimerHandle | None = None

    def hold_reading(self) -> None:
        """Pause reading until it is released, whoever resumes it meanwhile."""
        self._held = True
        self.pause_reading()

    def release_reading(self) -> None:
        """Resume reading that was held."""
        if self._held:
            self._held = False
            self.resume_reading()

    def pause_reading(self) -> None:
        super().pause_reading()
        if self._timer is None:
            self._timer = self._loop.call_later(CHECK_INTERVAL_S, self._check)

    def resume_reading(self) -> None:
        if not self._held:
            super().resume_reading()

    def close(self) -> None:
        """Let go of the timer, and of what would be called: the transport is closed."""
        del self._on_eof
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = None
        if not self.read_paused or self._transport.is_closing():
            return
        sends_no_more, broken = peer_state(self._transport)
        if broken:
            self._transport.abort()
            return
        if sends_no_more:
            self._on_eof()
        self._timer = self._loop.call_later(CHECK_INTERVAL_S, self._check)
