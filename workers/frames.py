"""Frames on a pipe: the length as four bytes, big-endian, then so many bytes of payload."""

import os
from collections.abc import Iterator

MAX_FRAME = 64 * 1024
"""Largest payload of a frame in bytes."""

LENGTH_BYTES = 4
"""Bytes of the length before each payload."""


class ProtocolError(Exception):
    """Raised when bytes are not a frame, or a payload is not a message, of this protocol."""


class FrameBuffer:
    """Cuts a stream of frames into payloads; holds at most one incomplete frame and what was fed last."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add `data` and yield each payload that it completes; raises ProtocolError for a wrong length."""
        self._data += data
        while len(self._data) >= LENGTH_BYTES:
            end = LENGTH_BYTES + payload_length(bytes(self._data[:LENGTH_BYTES]))
            if len(self._data) < end:
                return
            payload = bytes(self._data[LENGTH_BYTES:end])
            del self._data[:end]
            yield payload


def payload_length(prefix: bytes) -> int:
    """The length in the first four bytes of a frame; raises ProtocolError outside 1 to `MAX_FRAME`."""
    if len(prefix) != LENGTH_BYTES:
        raise ProtocolError("a frame must begin with its length in four bytes")
    length = int.from_bytes(prefix, "big")
    if not 0 < length <= MAX_FRAME:
        raise ProtocolError(f"a frame of {length} bytes is outside 1 to {MAX_FRAME}")
    return length


def make_frame(payload: bytes) -> bytes:
    """The frame of `payload`; raises ProtocolError if that is empty or too long."""
    if not 0 < len(payload) <= MAX_FRAME:
        raise ProtocolError(f"{len(payload)} bytes do not fit a frame")
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def write_frame(descriptor: int, frame: bytes) -> None:
    """Write a whole frame, in as many writes as the pipe needs; raises BrokenPipeError if nobody reads."""
    while frame:
        frame = frame[os.write(descriptor, frame) :]
