"""Reads by which rotation and reflection a stored picture becomes upright, and applies it.

Only EXIF counts, and in AVIF and HEIC the properties of the picture. Browsers ignore the orientation in XMP
(viewers differ), and so does this module; Pillow would use it.
"""

import functools
from typing import Any

from PIL import Image

from workers.scaling import Box

_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
"""The orientations that exchange width and height."""
# In each, the stored pixels run against the upright picture's width, or height.
_MIRRORED, _UPSIDE_DOWN = (2, 3, 6, 7), (3, 4, 7, 8)
_EXIF_KEYS = ("exif", "Raw profile type exif")
_XMP_KEYS = ("xmp", "XML:com.adobe.xmp")


def read_exif(info: dict[str | tuple[int, int], Any]) -> Image.Exif:
    """The EXIF of a picture, by Pillow's `info` of it; it may be empty, or broken and raise any exception."""
    return _parse_exif(tuple((key, info[key]) for key in _EXIF_KEYS if key in info))


@functools.lru_cache(maxsize=1)  # the orientation, the colours and the thumbnail are looked for one by one
def _parse_exif(entries: tuple[tuple[str, Any], ...]) -> Image.Exif:
    bare = Image.new("L", (1, 1))
    bare.info = dict(entries)
    return bare.getexif()


def read_orientation(info: dict[str | tuple[int, int], Any]) -> int:
    """The orientation (1 to 8) in the EXIF of a picture, by Pillow's `info` of it; 1 if there is none."""
    try:
        value = read_exif(info).get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # broken metadata must not make the picture fail
        return 1
    return value if isinstance(value, int) and value in _TRANSPOSITIONS else 1


def drop_xmp(image: Image.Image) -> None:
    """Remove the XMP of a picture whose plugin would apply the orientation in it while it decodes."""
    for key in _XMP_KEYS:
        image.info.pop(key, None)


def make_upright(image: Image.Image, orientation: int) -> Image.Image:
    """`image` rotated or mirrored by its EXIF `orientation` (1 to 8; others mean upright)."""
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """A size of the upright picture as it is stored, or of the stored picture as it is upright."""
    return size[::-1] if orientation in SIDEWAYS else size


def stored_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Where a part of an upright picture of this `size` is in its pixels as they are stored."""
    left, top, right, bottom = box
    if orientation in _MIRRORED:
        left, right = size[0] - right, size[0] - left
    if orientation in _UPSIDE_DOWN:
        top, bottom = size[1] - bottom, size[1] - top
    return (top, left, bottom, right) if orientation in SIDEWAYS else (left, top, right, bottom)
