"""How much is read from a connection at a time, and into which memory.

By itself an event loop reads 256 KiB at a time into a new object. In a flood it would do so for every photo
that is about to be refused by its head. Here a head is read in small pieces and a body in medium ones. All
connections share one buffer for these: what is in it has been parsed, and copied where needed, before the
next read.

A body of a declared length that somebody takes at once is gathered in large pieces instead, in memory of its
connection. The application gets such a piece as it is, for the time of an upload is spent on the number of
its pieces and on copies of them.
"""

import asyncio
from typing import Protocol

from app.server.head_checks import UNKNOWN_LENGTH

SMALL_READ = 32 * 1024
"""Bytes of a body that are read at a time, unless fast reading is on."""
HEAD_READ = 4 * 1024
"""Bytes of a head that are read at a time."""
LARGE_PIECE = 1024 * 1024
"""Bytes of a body of a declared length that are gathered while fast reading is on."""
_CHUNKED_READ = 256 * 1024
"""Bytes of a chunked body that are read at a time while fast reading is on."""
_MAX_SPARE = 2
"""Memory for large pieces that is kept for the next uploads."""

_buffer = memoryview(bytearray(_CHUNKED_READ))
_head_buffer, _small_buffer = _buffer[:HEAD_READ], _buffer[:SMALL_READ]
_spare: list[bytearray] = []


class Reader(Protocol):
    """The protocol that is read for. It must not keep the memory that it is given."""

    body_left: int
    """Bytes of the body still to come, or `UNKNOWN_LENGTH`."""

    @property
    def in_head(self) -> bool:
        """Whether the next bytes belong to a request head."""

    def data_received(self, data: memoryview) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

    def take_unread(self) -> bytearray:
        """Remove and return what the application has not got yet of the body."""

    def give_back(self, data: bytes) -> None:
        """The next bytes of the body, for the application. They have been counted."""

    def piece_gathered(self) -> None:
        """A large piece can be had by `ReadBuffer.take_piece()`, and reading must pause until then.

        If nothing is left of the body, that was its end.
        """


class ReadBuffer(asyncio.BufferedProtocol):
    """Stands between the transport of one connection and its reader."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._fast = False
        self._piece: bytearray | None = None
        self._gathered = 0  # bytes in the piece
        self._is_whole = False  # the piece is one that the application can take
        self._into_piece = False  # the read that was asked for

    def eof_received(self) -> bool:
        return self._reader.eof_received()

    def pause_writing(self) -> None:
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        self._reader.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on, and let go of the reader, which has a reference to this."""
        reader = self._reader
        del self._reader
        self._gathered = 0  # nobody takes it any more
        reader.connection_lost(exc)

    @property
    def fast(self) -> bool:
        """Whether the body is read in large pieces; what was taken of them is not valid after that."""
        return self._fast

    @fast.setter
    def fast(self, fast: bool) -> None:
        self._fast = fast
        if fast or self._piece is None:
            return
        if self._gathered:
            self._reader.give_back(bytes(memoryview(self._piece)[: self._gathered]))
        if len(_spare) < _MAX_SPARE:
            _spare.append(self._piece)
        self._piece, self._gathered, self._is_whole = None, 0, False

    def take_piece(self) -> memoryview | None:
        """The large piece that was gathered, if there is one.

        Its memory is used again when reading is resumed, or fast reading ends.
        """
        if self._piece is None or not self._is_whole:
            return None
        piece = memoryview(self._piece)[: self._gathered]
        self._gathered, self._is_whole = 0, False
        return piece

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop suggests its own large size
        """The memory for the next read; its length is the most that is read."""
        self._into_piece = False
        if self._reader.in_head:
            return _head_buffer
        if not self._fast:
            return _small_buffer
        left = self._reader.body_left
        if left == UNKNOWN_LENGTH:
            return _buffer
        self._into_piece = True
        if self._piece is None:
            self._piece = _spare.pop() if _spare else bytearray(LARGE_PIECE)
        if not self._gathered:
            before = self._reader.take_unread()
            self._piece[: len(before)] = before
            self._gathered = len(before)
        return memoryview(self._piece)[self._gathered : self._gathered + left]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        if not self._into_piece:
            self._reader.data_received(_buffer[:nbytes])
            return
        self._gathered += nbytes
        self._reader.body_left -= nbytes
        if self._gathered == LARGE_PIECE or not self._reader.body_left:
            self._is_whole = True
            self._reader.piece_gathered()
