"""Gives a connection's parser what arrives in pieces, none of which reaches beyond the end of a message.

The parser cannot be stopped behind a message, so it gets no byte of the next one before that may be parsed.
A head, and a chunked body, end with an empty line; another body ends after as many bytes as it declared.
"""

from typing import Protocol

from app.server.head_checks import UNKNOWN_LENGTH

_EMPTY_LINE = b"\r\n\r\n"
_MAX_PIECES = 64
"""Pieces of a chunked body that are parsed at once; each ends with an empty line."""


class ParsingConnection(Protocol):
    """The connection that the parser belongs to."""

    body_left: int
    """Bytes of the body still to come, or `UNKNOWN_LENGTH`."""

    @property
    def in_head(self) -> bool:
        """Whether the next bytes belong to a request head."""

    @property
    def can_parse(self) -> bool:
        """Whether the next bytes may be parsed now."""

    def parse_piece(self, piece: memoryview) -> bool:
        """Feed the parser. Whether to go on."""


class PiecewiseInput:
    """What has arrived on one connection and is not parsed yet, and where the pieces of it end."""

    __slots__ = ("_tail", "held")

    def __init__(self) -> None:
        self.held = b""
        """Read, and not parsed yet; nothing more is read meanwhile."""
        self._tail = b""  # the last bytes that were parsed, in which the empty line behind a piece may begin

    def parse_held(self, connection: ParsingConnection) -> None:
        """Parse at most one request of what is held."""
        held, self.held = self.held, b""
        self.parse(connection, memoryview(held))

    def parse(self, connection: ParsingConnection, data: memoryview) -> None:
        """Parse at most one request, and hold the rest."""
        at, size = 0, len(data)
        for _ in range(_MAX_PIECES):
            if at == size or not connection.can_parse:
                break
            if connection.in_head or connection.body_left == UNKNOWN_LENGTH:
                end = self._find_end(data, at)
            else:
                end = min(at + connection.body_left, size)
            if not connection.parse_piece(data[at:end] if end - at < size else data):
                return
            at = end
            if connection.in_head:
                break
        if at < size:
            self.held = bytes(data[at:])

    def _find_end(self, data: memoryview, at: int) -> int:
        """Where the next empty line ends, which may have begun in earlier data; else the end of `data`."""
        if self._tail:
            across = (self._tail + bytes(data[at : at + len(_EMPTY_LINE) - 1])).find(_EMPTY_LINE)
            if across >= 0:
                end = at + across + len(_EMPTY_LINE) - len(self._tail)
                self._tail = b""
                return end
        found: int = data.obj.find(_EMPTY_LINE, at, len(data))  # type: ignore[attr-defined]  # bytes or bytearray
        if found >= 0:
            self._tail = b""
            return found + len(_EMPTY_LINE)
        self._tail = (self._tail + bytes(data[max(at, len(data) - 3) :]))[-3:]
        return len(data)
