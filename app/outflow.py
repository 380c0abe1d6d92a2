"""Outflow: ends a connection whose client does not read what it asked for.

A client that stops reading, or reads a few bytes now and then, would hold its connection, an open file and
what waits to be sent for as long as it likes; closing would not help, since that first sends what waits.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios

PATIENCE = 20.0
"""Seconds after which it is looked at how much has gone out."""
LEAST_RATE = 1024
"""Bytes per second that a client must take while something waits to be sent to it."""


class Outflow:
    """Watches one connection while more waits to be sent than the kernel takes."""

    __slots__ = ("_loop", "_timer", "_transport", "_unsent")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def watch(self) -> None:
        """From now on it must be read from; harmless when called again."""
        if self._timer is None:
            self._look_later()

    def rest(self) -> None:
        """Nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        self._unsent = self._measure()
        self._timer = self._loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        if self._unsent - self._measure() < PATIENCE * LEAST_RATE:
            self._reset()
        else:
            self._look_later()

    def _reset(self) -> None:
        """End it so that the kernel forgets what it has for the client, too (socket(7), SO_LINGER)."""
        with contextlib.suppress(OSError, AttributeError):
            descriptor = self._transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=socket.dup(descriptor)) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _measure(self) -> int:
        """Bytes on their way to the client: here, and in the kernel (tcp(7), SIOCOUTQ)."""
        in_kernel = bytes(4)
        with contextlib.suppress(OSError, AttributeError):  # closed, or a system that does not tell
            descriptor = self._transport.get_extra_info("socket").fileno()
            in_kernel = fcntl.ioctl(descriptor, termios.TIOCOUTQ, in_kernel)
        return self._transport.get_write_buffer_size() + int(struct.unpack("i", in_kernel)[0])
