"""Bounds what pipelined requests take of the event loop.

A client may send a thousand requests at once. Each connection parses one of them as it is read. What follows
waits here as bytes and is parsed later, a few requests in each iteration of the event loop, one after the
other from each connection, so that the first request of any other connection comes in between.
"""

import asyncio
import time
from collections import OrderedDict
from typing import Protocol

_MAX_REQUESTS = 4
"""Requests that are parsed in one iteration of the event loop; each may start a task of some milliseconds."""
_MAX_PARSING_S = 0.001
"""Seconds after which no other request is parsed in one iteration."""


class HoldingConnection(Protocol):
    """A connection with bytes that were read and not parsed yet."""

    def parse_held(self) -> None:
        """Parse one request of them. If more can be parsed at once, the connection joins the queue again."""


class ParseQueue:
    """Connections that have requests to parse, served round robin."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[HoldingConnection, None] = OrderedDict()
        self._scheduled = False

    def add(self, connection: HoldingConnection) -> None:
        """Have a request of the connection parsed when it is its turn; once, however often it is added."""
        self._waiting[connection] = None
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._parse_some)

    def _parse_some(self) -> None:
        self._scheduled = False
        end = time.perf_counter() + _MAX_PARSING_S
        for _ in range(_MAX_REQUESTS):
            if not self._waiting or time.perf_counter() > end:
                break
            connection, _ = self._waiting.popitem(last=False)
            connection.parse_held()
        if self._waiting:
            self._schedule()
