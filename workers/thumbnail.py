"""What both ends of the preview worker know: where a photo's thumbnail lies, and what a preview may be.

The segments of a JPEG are walked without trusting a byte of them, and without loading a codec.
"""

from collections.abc import Iterator

DEADLINE = 1.0
"""Seconds after which a preview is given up and its process killed."""
MAX_SIDE = 320
"""Longest side of a preview in pixels; the usual thumbnail has 160."""
EXIF = b"Exif\0\0"
"""How the segment with EXIF begins."""

_START, _END = b"\xff\xd8", b"\xff\xd9"
_APP0, _APP1, _DQT, _SOF0, _DHT, _SOS = 0xE0, 0xE1, 0xDB, 0xC0, 0xC4, 0xDA
_MOST_SEGMENTS = 32
"""Cameras write EXIF first or second; a file of ten thousand segments is meant to cost."""
_BARE = frozenset((_APP0, _DQT, _SOF0, _DHT, _SOS))
"""What our own encoder writes of a baseline JPEG, and no place for metadata among it."""


def exif_segment(head: bytes | bytearray) -> bytes | None:
    """The EXIF segment of the file that begins with `head`, at most 64 KiB.

    Empty when the file has none or is no JPEG; None when it may come in bytes that are not there yet.
    """
    if head[:2] != _START[: len(head)]:
        return b""
    for marker, start, end in _segments(head):
        if end > len(head):
            return None
        if marker == _SOS:
            return b""
        if marker == _APP1 and head.startswith(EXIF, start):
            return bytes(head[start:end])
    return b""


def bare_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a baseline JPEG that has nothing but what it needs; None for anything else."""
    if not (data.startswith(_START) and data.endswith(_END)):
        return None
    size = None
    for marker, start, end in _segments(data):
        if marker not in _BARE or end > len(data):
            return None
        if marker == _SOF0:
            size = (
                int.from_bytes(data[start + 3 : start + 5], "big"),
                int.from_bytes(data[start + 1 : start + 3], "big"),
            )
        if marker == _SOS:
            return size
    return None


def _segments(head: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment's body, the pixels' header the last; ends at what is none.

    The last may end, or even start, beyond `head`.
    """
    at = len(_START)
    for _ in range(_MOST_SEGMENTS):
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
