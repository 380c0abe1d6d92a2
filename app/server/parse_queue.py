"""Bounds what pipelined requests take of the event loop.

A client may send a thousand requests at once. Each connection parses one of them as it is read. What follows
waits here as bytes and is parsed later, a few requests in each iteration of the event loop, one after the
other from each connection, so that the first request of any other connection comes in between.
"""

from typing import Protocol

from app.runtime.slices import Slices

_MAX_REQUESTS = 4
"""Requests that are parsed in one iteration of the event loop; each may start a task of some milliseconds."""
_MAX_PARSING_S = 0.001
"""Seconds after which no other request is parsed in one iteration."""


class HoldingConnection(Protocol):
    """A connection with bytes that were read and not parsed yet."""

    def parse_held(self) -> None:
        """Parse one request of them. If more can be parsed at once, the connection joins the queue again."""


class ParseQueue(Slices[HoldingConnection]):
    """Connections that have requests to parse, served round robin."""

    def __init__(self) -> None:
        super().__init__(lambda connection: connection.parse_held(), _MAX_REQUESTS, _MAX_PARSING_S)
