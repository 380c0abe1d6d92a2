"""A small photo with a thumbnail, by which a process checks itself and prepares for its work."""

import struct
from io import BytesIO

from PIL import Image

from workers.thumbnail import EXIF_PREFIX

ROUNDS = 12
"""How often it is made use of: CPython specialises a function after eight calls (PEP 659)."""

_STORED_SIZE, _THUMBNAIL_SIZE = (32, 16), (16, 8)
"""Width and height in pixels; the picture has to be rotated, which exchanges them."""
_TYPE_SHORT, _TYPE_LONG = 3, 4
_ORIENTATION, _OFFSET, _LENGTH = 0x0112, 0x0201, 0x0202


def make_sample_photo() -> bytes:
    """The photo as a JPEG."""
    return _encode(_STORED_SIZE, exif=make_sample_segment())


def make_sample_segment() -> bytes:
    """Its EXIF segment: two directories, then the thumbnail."""
    jpeg = _encode(_THUMBNAIL_SIZE)
    first = struct.pack(">2sHI HHHIHxxI", b"MM", 42, 8, 1, _ORIENTATION, _TYPE_SHORT, 1, 6, 26)
    entries = (_OFFSET, _TYPE_LONG, 1, 56, _LENGTH, _TYPE_LONG, 1, len(jpeg))
    second = struct.pack(">H HHII HHII I", 2, *entries, 0)
    return EXIF_PREFIX + first + second + jpeg


def _encode(size: tuple[int, int], exif: bytes = b"") -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, "JPEG", exif=exif)
    return file.getvalue()
