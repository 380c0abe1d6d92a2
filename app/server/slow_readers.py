"""Resets connections whose clients do not read the answer that they asked for.

A client that stops reading, or reads a few bytes now and then, would hold its connection, an open file and
the unsent data for as long as it likes. Closing such a connection would not help, because that sends the
rest first.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios

from app.server.connection_limit import BoundedGroup
from app.server.transport_socket import socket_of

CHECK_INTERVAL_S = 20.0
"""Seconds between two looks at how much a client has read."""
MIN_BYTES_PER_S = 1024
"""The rate at which a client must read while data waits to be sent to it."""
MAX_WATCHED = 256
"""Connections that may have unsent data in this process; each holds a piece of an image, of 256 KiB."""


class SlowReaders(BoundedGroup["SlowReaderWatch"]):
    """All connections with unsent data; beyond `MAX_WATCHED` a sixteenth of them is reset."""

    def __init__(self) -> None:
        super().__init__(MAX_WATCHED, lambda watch: watch.reset())


class SlowReaderWatch:
    """Watches one connection while it has more unsent data than the kernel takes."""

    __slots__ = ("_loop", "_timer", "_transport", "_unsent", "_watches", "peer")

    def __init__(
        self, watches: SlowReaders, peer: str, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop
    ) -> None:
        """`watches` are those of all connections; `peer` is the IP address of the client."""
        self._watches = watches
        self.peer = peer
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def start(self) -> None:
        """Require the client to read from now on; nothing changes if it is required already."""
        if self._timer is None:
            self._check_later()
            self._watches.add(self)

    def stop(self) -> None:
        """Require nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watches.remove(self)

    def _check_later(self) -> None:
        self._unsent = self._unsent_bytes()
        self._timer = self._loop.call_later(CHECK_INTERVAL_S, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            self._watches.remove(self)
            return
        if self._unsent - self._unsent_bytes() < CHECK_INTERVAL_S * MIN_BYTES_PER_S:
            self.reset()
        else:
            self._check_later()

    def reset(self) -> None:
        """End the connection at once; SO_LINGER 0 makes the kernel drop unsent data too (socket(7))."""
        with contextlib.suppress(OSError), socket_of(self._transport) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stop()
        self._transport.abort()

    def _unsent_bytes(self) -> int:
        """Bytes that the client has not acknowledged, here and in the kernel (tcp(7), SIOCOUTQ)."""
        in_kernel = bytes(4)
        with contextlib.suppress(OSError, AttributeError):  # closed, or not supported by the system
            descriptor = self._transport.get_extra_info("socket").fileno()
            in_kernel = fcntl.ioctl(descriptor, termios.TIOCOUTQ, in_kernel)
        return self._transport.get_write_buffer_size() + int(struct.unpack("i", in_kernel)[0])
