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
from collections import Counter

PATIENCE = 20.0
"""Seconds after which it is looked at how much has gone out."""
LEAST_RATE = 1024
"""Bytes per second that a client must take while something waits to be sent to it."""
MOST_WATCHED = 256
"""Connections that may have something waiting here at once: each holds a piece of an image, of 256 KiB."""


class SlowReaders:
    """All connections that are watched, the longest watched first."""

    def __init__(self) -> None:
        self._watched: dict[SlowReaderWatch, None] = {}

    def add(self, outflow: "SlowReaderWatch") -> None:
        """One more. When there are too many, a sixteenth goes, first of the address that has most of them."""
        self._watched[outflow] = None
        if len(self._watched) > MOST_WATCHED:
            crowds = Counter(each.peer for each in self._watched)
            for each in sorted(self._watched, key=lambda each: -crowds[each.peer])[: MOST_WATCHED // 16]:
                each.reset()

    def remove(self, outflow: "SlowReaderWatch") -> None:
        """It is watched no longer."""
        self._watched.pop(outflow, None)


class SlowReaderWatch:
    """Watches one connection while more waits to be sent than the kernel takes."""

    __slots__ = ("_all", "_loop", "_timer", "_transport", "_unsent", "peer")

    def __init__(
        self, every: SlowReaders, peer: str, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop
    ) -> None:
        """`peer` is the address at the other end."""
        self._all = every
        self.peer = peer
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def watch(self) -> None:
        """From now on it must be read from; harmless when called again."""
        if self._timer is None:
            self._look_later()
            self._all.add(self)

    def rest(self) -> None:
        """Nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._all.remove(self)

    def _look_later(self) -> None:
        self._unsent = self._measure()
        self._timer = self._loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            self._all.remove(self)
            return
        if self._unsent - self._measure() < PATIENCE * LEAST_RATE:
            self.reset()
        else:
            self._look_later()

    def reset(self) -> None:
        """End the connection; the kernel, too, forgets what it has for the client (socket(7), SO_LINGER)."""
        with contextlib.suppress(OSError, AttributeError):
            descriptor = self._transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=socket.dup(descriptor)) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rest()
        self._transport.abort()

    def _measure(self) -> int:
        """Bytes on their way to the client: here, and in the kernel (tcp(7), SIOCOUTQ)."""
        in_kernel = bytes(4)
        with contextlib.suppress(OSError, AttributeError):  # closed, or a system that does not tell
            descriptor = self._transport.get_extra_info("socket").fileno()
            in_kernel = fcntl.ioctl(descriptor, termios.TIOCOUTQ, in_kernel)
        return self._transport.get_write_buffer_size() + int(struct.unpack("i", in_kernel)[0])
