"""Lingering close: lets a client that still sends its body read the answer that it was given (RFC 9112, 9.6).

When a socket is closed with unread data, the kernel sends a reset, which removes the answer from the
client's own receive buffer. So the connection is half closed and what still arrives is discarded, by the
kernel itself (`MSG_TRUNC`, tcp(7)): no byte of it is copied into this process.
"""

import asyncio
import mmap
import socket
from collections import Counter, deque
from dataclasses import dataclass

from app.server.transport_socket import socket_of

_POLL_INTERVAL_S = 0.02
_MAX_ACTIVE = 256
"""Connections that are read from at the same time; others wait unread."""
_ACTIVE_TIMEOUT_S = 5.0
_WAITING_TIMEOUT_S = 10.0
_READ_BYTES = 4 << 20  # what the kernel may hold of one connection (app.server.listener)

# Many clients read no answer before they have sent their whole body (browsers, urllib). Where the end of the
# body is in sight, because its length was declared, it is discarded to the end.
LONG_BODY = 1 << 30
"""Bytes of the longest rest of a declared body that is discarded whole."""
LONG_TIMEOUT_S = 60.0
LONG_MIN_RATE = 128 * 1024
"""Bytes per second at which it must arrive, with pauses of up to `_ACTIVE_TIMEOUT_S`."""
MAX_LONG = 128
"""Connections that may need more bytes or seconds than others, at the same time; a quarter of one address."""
_LONG_BYTES_PER_POLL = 8 << 20
"""Bytes that are discarded of all these together in one round, for they cost time of the kernel."""

_discarded = mmap.mmap(-1, _READ_BYTES)
"""The buffer of every read; with `MSG_TRUNC` the kernel never writes to it, so it takes no memory."""


@dataclass(slots=True, eq=False)
class _Lingering:
    """One connection of a client, of whose body `declared` bytes are still to come.

    `end`, of the loop's time, is when it has waited or lingered for long enough, and `behind_at` when it will
    have fallen behind the minimum rate of long bodies.
    """

    transport: asyncio.Transport
    peer: str
    declared: int
    end: float
    started_at: float = 0.0
    behind_at: float = 0.0
    discarded: int = 0
    is_long: bool = False

    def start(self, now: float) -> None:
        """Begin to be read from."""
        self.end = now + _ACTIVE_TIMEOUT_S if self.end > now else now
        self.started_at, self.behind_at = now, self.end

    def discard(self, limit: int, now: float) -> bool:
        """Discard what has arrived, at most `limit` bytes. Whether the client may send more."""
        try:
            with socket_of(self.transport) as own:
                while limit > 0:
                    size = own.recv_into(_discarded, min(_READ_BYTES, limit), socket.MSG_TRUNC)
                    if not size:
                        return False
                    limit -= size
                    self.discarded += size
                    self.behind_at = min(self.behind_at + size / LONG_MIN_RATE, now + _ACTIVE_TIMEOUT_S)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return True

    def is_worth_waiting_for(self, now: float) -> bool:
        """Whether its body has an end that may be reached in time."""
        in_time = now < min(self.behind_at, self.started_at + LONG_TIMEOUT_S)
        return in_time and self.discarded <= self.declared <= LONG_BODY


class LingeringClose:
    """Closes connections, each within a bounded time and number of bytes, a bounded number at once."""

    def __init__(self, max_bytes: int, max_connections: int) -> None:
        """At most `max_bytes` are discarded of one connection, unless its body is longer and ends in time.

        At most `max_connections` linger, a quarter of them of one address; others are closed at once.
        """
        self._max_bytes = max_bytes
        self._max_connections = max_connections
        self._max_per_address = max(1, max_connections // 4)
        self._active: list[_Lingering] = []
        self._waiting: deque[_Lingering] = deque()
        self._per_address: Counter[str] = Counter()
        self._long_per_address: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, transport: asyncio.Transport, peer: str, body_left: int) -> None:
        """Take over a connection to which the whole answer has been written, and close it in the end.

        `body_left` bytes of its body are still to come, by its declared length; if that is unknown, it is
        more than `LONG_BODY`.
        """
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
        self._waiting.append(_Lingering(transport, peer, body_left, now + _WAITING_TIMEOUT_S))
        self._per_address[peer] += 1
        if self._timer is None:
            self._poll()

    def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting and (len(self._active) < _MAX_ACTIVE or self._waiting[0].end <= now):
            next_one = self._waiting.popleft()
            next_one.start(now)
            self._active.append(next_one)
        long_share = _LONG_BYTES_PER_POLL // max(1, self._long_per_address.total())
        self._active = [each for each in self._active if self._goes_on(each, now, long_share)]
        busy = self._active or self._waiting
        self._timer = loop.call_later(_POLL_INTERVAL_S, self._poll) if busy else None

    def _goes_on(self, lingering: _Lingering, now: float, long_share: int) -> bool:
        limit = long_share if lingering.is_long else self._max_bytes - lingering.discarded
        if lingering.discard(limit, now) and self._may_go_on(lingering, now):
            return True
        lingering.transport.abort()  # unlike close(), this does not wait until the client has read the answer
        _decrement(self._per_address, lingering.peer)
        if lingering.is_long:
            _decrement(self._long_per_address, lingering.peer)
        return False

    def _may_go_on(self, lingering: _Lingering, now: float) -> bool:
        if not lingering.is_long:
            if lingering.discarded < self._max_bytes and now < lingering.end:
                return True
            if not self._has_room_for_long(lingering.peer) or not lingering.is_worth_waiting_for(now):
                return False
            lingering.is_long = True
            self._long_per_address[lingering.peer] += 1
        return lingering.is_worth_waiting_for(now)

    def _has_room_for_long(self, peer: str) -> bool:
        counts = self._long_per_address
        return counts.total() < MAX_LONG and counts[peer] < MAX_LONG // 4


def _decrement(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
