"""Frames on a pipe: a length of four bytes, big-endian, then that many bytes of payload."""

import os
from collections.abc import Iterator

MAX_FRAME = 64 * 1024
"""Largest payload of a frame, in bytes; a longer one is a protocol error."""

LENGTH_BYTES = 4
"""Bytes of the length before each payload."""


class ProtocolError(Exception):
    """Raised when bytes are no frame of this protocol."""


class FrameBuffer:
    """Bytes of a stream of frames, cut into payloads as they arrive; holds at most one frame and a read."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take `data`, yield each payload that it completes; raises ProtocolError on a length too large."""
        self._held += data
        while len(self._held) >= LENGTH_BYTES:
            end = LENGTH_BYTES + payload_length(bytes(self._held[:LENGTH_BYTES]))
            if len(self._held) < end:
                return
            payload = bytes(self._held[LENGTH_BYTES:end])
            del self._held[:end]
            yield payload


def payload_length(prefix: bytes) -> int:
    """Length in bytes that a frame's first four bytes announce; raises ProtocolError past `MAX_FRAME`."""
    if len(prefix) != LENGTH_BYTES:
        raise ProtocolError("a frame begins with its length in four bytes")
    length = int.from_bytes(prefix, "big")
    if not 0 < length <= MAX_FRAME:
        raise ProtocolError(f"a frame of {length} bytes is outside 1 to {MAX_FRAME}")
    return length


def framed(payload: bytes) -> bytes:
    """`payload` with its length before it; raises ProtocolError when it does not fit a frame."""
    if not 0 < len(payload) <= MAX_FRAME:
        raise ProtocolError(f"{len(payload)} bytes do not fit a frame")
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def send(descriptor: int, frame: bytes) -> None:
    """Write the whole of a frame, however little the pipe takes at a time; raises BrokenPipeError."""
    while frame:
        frame = frame[os.write(descriptor, frame) :]
