"""Lingering close: lets a client that still sends its body read the answer that it was given (RFC 9112, 9.6).

When a socket is closed with unread data, the kernel sends a reset, which removes the answer from the
client's own receive buffer. So the connection is half closed and what still arrives is discarded, by the
kernel itself (`MSG_TRUNC`, tcp(7)): no byte of it is copied into this process.
"""

import asyncio
import socket
from collections import Counter, deque
from dataclasses import dataclass

from app.server.transport_socket import socket_of

_POLL_INTERVAL_S = 0.02
_MAX_ACTIVE = 256
"""Connections that are read from at the same time; others wait unread."""
_ACTIVE_TIMEOUT_S = 5.0
_WAITING_TIMEOUT_S = 10.0
_READ_BYTES = 1 << 20
_discarded = bytearray(_READ_BYTES)
"""The buffer of every read; with `MSG_TRUNC` the kernel never writes to it."""


@dataclass(slots=True, eq=False)
class _Lingering:
    """One connection of a client: `bytes_left` more may be discarded, until the loop's time `end`."""

    transport: asyncio.Transport
    peer: str
    bytes_left: int
    end: float

    def discard(self) -> bool:
        """Discard what has arrived. Whether there is more to wait for."""
        try:
            with socket_of(self.transport) as own:
                while self.bytes_left > 0:
                    size = own.recv_into(_discarded, min(_READ_BYTES, self.bytes_left), socket.MSG_TRUNC)
                    if not size:
                        return False
                    self.bytes_left -= size
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False


class LingeringClose:
    """Closes connections, each within a bounded time and number of bytes, a bounded number at once."""

    def __init__(self, max_bytes: int, max_connections: int) -> None:
        """At most `max_bytes` are discarded of one connection.

        At most `max_connections` linger, a quarter of them of one address; others are closed at once.
        """
        self._max_bytes = max_bytes
        self._max_connections = max_connections
        self._max_per_address = max(1, max_connections // 4)
        self._active: list[_Lingering] = []
        self._waiting: deque[_Lingering] = deque()
        self._per_address: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, transport: asyncio.Transport, peer: str) -> None:
        """Take over a connection to which the whole answer has been written, and close it in the end."""
        lingering = len(self._active) + len(self._waiting)
        if lingering >= self._max_connections or self._per_address[peer] >= self._max_per_address:
            transport.close()
            return
        transport.pause_reading()
        try:
            transport.write_eof()
        except (OSError, RuntimeError):
            transport.close()
            return
        now = asyncio.get_running_loop().time()
        self._waiting.append(_Lingering(transport, peer, self._max_bytes, now + _WAITING_TIMEOUT_S))
        self._per_address[peer] += 1
        if self._timer is None:
            self._poll()

    def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting and (len(self._active) < _MAX_ACTIVE or self._waiting[0].end <= now):
            next_one = self._waiting.popleft()
            next_one.end = now + _ACTIVE_TIMEOUT_S if next_one.end > now else now
            self._active.append(next_one)
        self._active = [each for each in self._active if self._goes_on(each, now)]
        busy = self._active or self._waiting
        self._timer = loop.call_later(_POLL_INTERVAL_S, self._poll) if busy else None

    def _goes_on(self, lingering: _Lingering, now: float) -> bool:
        if lingering.discard() and now < lingering.end:
            return True
        lingering.transport.abort()  # unlike close(), this does not wait until the client has read the answer
        self._per_address[lingering.peer] -= 1
        if not self._per_address[lingering.peer]:
            del self._per_address[lingering.peer]
        return False
