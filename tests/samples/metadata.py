"""What must not leave the service: EXIF with a secret, a place and a thumbnail."""

import struct

from PIL import Image

SECRET = b"hidden-in-the-metadata"
"""Text that the samples carry in every place for metadata; nothing served may contain it."""
_LATITUDE = (48.0, 51.0, 30.0)


def exif(
    orientation: int = 1,
    *,
    gps: bool = False,
    thumbnail: bytes | None = None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """An EXIF block with an `orientation`, a secret description, and optionally a place and a thumbnail.

    `size` is that of the photo as the block tells it.
    """
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = SECRET.decode()
    if gps:
        block.get_ifd(0x8825).update({1: "N", 2: _LATITUDE, 3: "E", 4: _LATITUDE})
    if size is not None:
        block.get_ifd(0x8769).update({0xA002: size[0], 0xA003: size[1]})
    data = block.tobytes()
    return data if thumbnail is None else _with_thumbnail(data, thumbnail)


def _with_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    """Append a second directory to the EXIF block `data`, and its JPEG, as cameras do."""
    body = bytearray(data.removeprefix(b"Exif\0\0"))
    order = "<" if body[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", body, 4)[0]
    link = first + 2 + 12 * struct.unpack_from(order + "H", body, first)[0]
    second = len(body)
    struct.pack_into(order + "I", body, link, second)
    start = second + 2 + 3 * 12 + 4
    body += struct.pack(order + "H", 3)
    body += struct.pack(order + "HHIHH", 259, 3, 1, 6, 0)
    body += struct.pack(order + "HHII", 513, 4, 1, start)
    body += struct.pack(order + "HHII", 514, 4, 1, len(thumbnail))
    return b"Exif\0\0" + bytes(body) + bytes(4) + thumbnail


def adobe_rgb_exif(space: int = 0xFFFF, index: bytes = b"R03\0", start: int = 0) -> bytes:
    """The EXIF of a camera: a directory, that of the photo, and that of interoperability, at `start`."""
    first = struct.pack(">H HHII I", 1, 0x8769, 4, 1, start + 26, 0)
    second = struct.pack(">H HHIHxx HHII I", 2, 0xA001, 3, 1, space, 0xA005, 4, 1, start + 56, 0)
    third = struct.pack(">H HHI4s I", 1, 1, 2, 4, index, 0)
    return b"MM\0*" + struct.pack(">I", 8) + first + second + third
