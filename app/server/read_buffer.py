"""Inflow: how much is read from a connection at a time, and where to.

An event loop reads as much as it can hold and makes an object of it: of a flood, a quarter of a megabyte of
each photo that is about to be refused by its head. Here a head is read by small pieces, the body behind it is
no more than tasted, and large pieces are read for whoever is ready for them; all into the same memory, of
which the parser has taken what it needs before the next piece comes.
"""

import asyncio
from typing import Protocol

SMALL_READ = 32 * 1024
"""Bytes of a body that are read before there is somebody to take them, and once more while they are taken."""
_HEAD = 4 * 1024
_PIECE = 256 * 1024

_piece = memoryview(bytearray(_PIECE))
_head, _taste = _piece[:_HEAD], _piece[:SMALL_READ]


class Reader(Protocol):
    """What is read for: an asyncio.Protocol that keeps nothing of the memory which it is given."""

    @property
    def in_head(self) -> bool:
        """Whether the next bytes belong to a head."""

    def data_received(self, data: memoryview) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class ReadBuffer(asyncio.BufferedProtocol):
    """Stands between one connection's transport and its reader."""

    def __init__(self, reader: Reader) -> None:
        self.eager = False
        """Whether its body is to be read by large pieces."""
        self._reader = reader
        self.eof_received = reader.eof_received  # type: ignore[method-assign]
        self.connection_lost = reader.connection_lost  # type: ignore[method-assign]
        self.pause_writing = reader.pause_writing  # type: ignore[method-assign]
        self.resume_writing = reader.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop's is as large as it can hold
        """Where to read to: as much as is wanted now."""
        if self._reader.in_head:
            return _head
        return _piece if self.eager else _taste

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what was read there."""
        self._reader.data_received(_piece[:nbytes])
