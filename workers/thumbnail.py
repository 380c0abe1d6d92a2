"""Finds the EXIF segment of a photo, and checks what a preview worker returns; used at both ends of its pipe.

The segments of a JPEG are read as untrusted input, and without loading a codec.
"""

from collections.abc import Iterator

PREVIEW_TIMEOUT_S = 1.0
"""Seconds after which the process of a preview is killed."""
MAX_SIDE = 320
"""Longest side of a preview in pixels; the usual thumbnail has 160."""
EXIF_PREFIX = b"Exif\0\0"
"""The first bytes of an EXIF segment."""

_START, _END = b"\xff\xd8", b"\xff\xd9"
_APP0, _APP1, _DQT, _SOF0, _DHT, _SOS = 0xE0, 0xE1, 0xDB, 0xC0, 0xC4, 0xDA
_MAX_SEGMENTS = 32
"""Cameras write EXIF as the first or second segment; thousands of segments are an attack."""
_PLAIN_MARKERS = frozenset((_APP0, _DQT, _SOF0, _DHT, _SOS))
"""The segments that Pillow writes for a baseline JPEG; none of them can hold metadata."""


def find_exif_segment(head: bytes | bytearray) -> bytes | None:
    """The EXIF segment of the file that begins with `head`, at most 64 KiB.

    Empty if the file has none or is no JPEG; None if it may be in bytes that `head` does not have yet.
    """
    if head[:2] != _START[: len(head)]:
        return b""
    for marker, start, end in _read_segments(head):
        if end > len(head):
            return None
        if marker == _SOS:
            return b""
        if marker == _APP1 and head.startswith(EXIF_PREFIX, start):
            return bytes(head[start:end])
    return b""


def read_plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a baseline JPEG without any metadata; None for any other data."""
    if not (data.startswith(_START) and data.endswith(_END)):
        return None
    size = None
    for marker, start, end in _read_segments(data):
        if marker not in _PLAIN_MARKERS or end > len(data):
            return None
        if marker == _SOF0:
            size = (
                int.from_bytes(data[start + 3 : start + 5], "big"),
                int.from_bytes(data[start + 1 : start + 3], "big"),
            )
        if marker == _SOS:
            return size
    return None


def _read_segments(head: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the body of each segment, up to the start of the scan or to invalid data.

    The last one may end, or even start, beyond `head`.
    """
    at = len(_START)
    for _ in range(_MAX_SEGMENTS):
        start = at + 4
        if start > len(head):
            yield 0, start, start
            return
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : start], "big")
        if head[at] != 0xFF or length < 2:
            return
        at += 2 + length
        yield marker, start, at
        if marker == _SOS:
            return
