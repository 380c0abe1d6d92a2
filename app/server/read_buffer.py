"""How much is read from a connection at a time, and into which memory.

By itself an event loop reads 256 KiB at a time into a new object. In a flood it would do so for every photo
that is about to be refused by its head. Here a head is read in small pieces and a body in medium ones, and
in large ones only while somebody takes them at once. All connections share one buffer: what is in it has
been parsed, and copied where needed, before the next read.
"""

import asyncio
from typing import Protocol

SMALL_READ = 32 * 1024
"""Bytes of a body that are read at a time, unless fast reading is on."""
HEAD_READ = 4 * 1024
"""Bytes of a head that are read at a time."""
_FAST_READ = 256 * 1024

_buffer = memoryview(bytearray(_FAST_READ))
_head_buffer, _small_buffer = _buffer[:HEAD_READ], _buffer[:SMALL_READ]


class Reader(Protocol):
    """The protocol that is read for. It must not keep the memory that it is given."""

    @property
    def in_head(self) -> bool:
        """Whether the next bytes belong to a request head."""

    def data_received(self, data: memoryview) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class ReadBuffer(asyncio.BufferedProtocol):
    """Stands between the transport of one connection and its reader."""

    def __init__(self, reader: Reader) -> None:
        self.fast = False
        """Whether the body is read in large pieces."""
        self._reader = reader
        self.eof_received = reader.eof_received  # type: ignore[method-assign]
        self.connection_lost = reader.connection_lost  # type: ignore[method-assign]
        self.pause_writing = reader.pause_writing  # type: ignore[method-assign]
        self.resume_writing = reader.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop suggests its own large size
        """The memory for the next read; its length is the most that is read."""
        if self._reader.in_head:
            return _head_buffer
        return _buffer if self.fast else _small_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        self._reader.data_received(_buffer[:nbytes])
