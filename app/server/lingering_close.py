"""Lingering: lets a client that is still writing see the answer it was given.

Closing a socket with unread bytes makes the kernel send a reset, which wipes the answer out of the
client's own buffer. So the connection is half closed and what still comes is thrown away: by the kernel
itself (`MSG_TRUNC`, tcp(7)), without copying a byte into this process.
"""

import asyncio
import socket
from collections import deque
from dataclasses import dataclass

_TICK = 0.02
_MOST_AT_ONCE = 256
_LONGEST = 5.0
_LONGEST_WAIT = 10.0
"""Seconds for which a connection may wait, unread, for its turn to be read."""
_GULP = 1 << 20
_nothing = bytearray(_GULP)
"""Where the kernel is asked to put what it throws away; it never writes there."""


@dataclass(slots=True, eq=False)
class _Lingering:
    transport: asyncio.Transport
    socket: socket.socket
    left: int
    end: float

    def read(self) -> bool:
        """Throw away what has come; False when there is nothing more to wait for."""
        try:
            while self.left > 0:
                gone = self.socket.recv_into(_nothing, min(_GULP, self.left), socket.MSG_TRUNC)
                if not gone:
                    return False
                self.left -= gone
        except (BlockingIOError, InterruptedError):
            return not self.transport.is_closing()
        except OSError:
            return False
        return False


class LingeringClose:
    """All lingering connections, each for a bounded time and number of bytes, a bounded number at once."""

    def __init__(self, max_bytes: int) -> None:
        """At most `max_bytes` are thrown away for one connection."""
        self._max_bytes = max_bytes
        self._active: list[_Lingering] = []
        self._waiting: deque[_Lingering] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, transport: asyncio.Transport) -> None:
        """Take over a connection whose answer is written; it is closed in the end."""
        transport.pause_reading()
        try:
            transport.write_eof()
            descriptor = transport.get_extra_info("socket").fileno()
            duplicate = socket.socket(fileno=socket.dup(descriptor))
        except (OSError, RuntimeError, AttributeError):
            transport.close()
            return
        duplicate.setblocking(False)
        now = asyncio.get_running_loop().time()
        self._waiting.append(_Lingering(transport, duplicate, self._max_bytes, now + _LONGEST_WAIT))
        if self._timer is None:
            self._tick()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting and (len(self._active) < _MOST_AT_ONCE or self._waiting[0].end <= now):
            turn = self._waiting.popleft()
            turn.end = now + _LONGEST if turn.end > now else now
            self._active.append(turn)
        self._active = [one for one in self._active if self._goes_on(one, now)]
        busy = self._active or self._waiting
        self._timer = loop.call_later(_TICK, self._tick) if busy else None

    @staticmethod
    def _goes_on(one: _Lingering, now: float) -> bool:
        if one.read() and now < one.end:
            return True
        one.socket.close()
        one.transport.abort()  # and does not wait for an answer that nobody reads
        return False
