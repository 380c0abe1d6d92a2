"""The placeholder image of a degraded response: hills under a sun, in greys.

It is drawn here, so that no image file has to be shipped. It is a PNG because not every client shows SVG.
"""

import functools
import math
import struct
import zlib

WIDTH, HEIGHT = 160, 120

_GROUND, _INK = 0xE9, 0xB4
"""Shades of the background and of the drawing."""
_SUN = 43.0, 42.0, 10.0
"""Centre and radius in pixels."""
_HILLS = (55.0, 62.0), (91.0, 48.0)
"""The hilltops, in pixels from the left and the top."""
_FOOT = 88.0
"""Where the hills end, in pixels from the top."""
_SLOPE = math.sqrt(0.5)


@functools.cache
def placeholder_png() -> bytes:
    """The image, `WIDTH` x `HEIGHT` pixels. Drawn once, since that is slow in Python."""
    rows = b"".join(b"\0" + _row(y + 0.5) for y in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _row(y: float) -> bytes:
    """The shades of one row; nothing is drawn above the sun and below the hills."""
    if _SUN[1] - _SUN[2] - 1 < y < _FOOT + 1:
        return bytes(_grey(x + 0.5, y) for x in range(WIDTH))
    return bytes((_GROUND,)) * WIDTH


def _grey(x: float, y: float) -> int:
    """The shade at a point; within half a pixel of an edge it lies between the two (antialiasing)."""
    sun = math.hypot(x - _SUN[0], y - _SUN[1]) - _SUN[2]
    hills = min((abs(x - top) - (y - height)) * _SLOPE for top, height in _HILLS)
    outside = min(sun, max(hills, y - _FOOT))
    ink = min(1.0, max(0.0, 0.5 - outside))
    return round(_GROUND + (_INK - _GROUND) * ink)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
