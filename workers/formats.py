"""The image formats that are accepted and made, recognised by their first bytes."""

import struct
from dataclasses import dataclass
from pathlib import Path

SNIFF_BYTES = 512
"""How many bytes from the start of a file `sniff` needs; of a shorter file, all."""

_MAX_HEADER_BYTES = 1024 * 1024

EXTENSIONS = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "png": "png"}
"""File name extension of each output format."""

MEDIA_TYPES = {"jpeg": "image/jpeg", "webp": "image/webp", "avif": "image/avif", "png": "image/png"}
"""Media type of each output format."""


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """A format in which photos are taken: its name for people, its media type, and Pillow's name of it."""

    name: str
    media_type: str
    pillow_name: str


SOURCE_FORMATS = {
    "jpeg": SourceFormat("JPEG", "image/jpeg", "JPEG"),
    "png": SourceFormat("PNG", "image/png", "PNG"),
    "webp": SourceFormat("WebP", "image/webp", "WEBP"),
    "gif": SourceFormat("GIF", "image/gif", "GIF"),
    "tiff": SourceFormat("TIFF", "image/tiff", "TIFF"),
    "bmp": SourceFormat("BMP", "image/bmp", "BMP"),
    "avif": SourceFormat("AVIF", "image/avif", "AVIF"),
    "heic": SourceFormat("HEIC", "image/heic", "HEIF"),
}
"""The formats that are accepted."""

SOURCE_MEDIA_TYPES = {
    **MEDIA_TYPES,
    "gif": "image/gif",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "heic": "image/heic",
}
"""Media type of each format that is accepted."""

PILLOW_NAMES = {key: each.pillow_name for key, each in SOURCE_FORMATS.items()}
"""Pillow's name of each format that is accepted."""

SOURCE_NAMES = " and ".join(", ".join(each.name for each in SOURCE_FORMATS.values()).rsplit(", ", 1))
"""The formats that are accepted, as a sentence lists them."""

_SUBFILE_TYPE, _MAKE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 271, 330, 50_706
_REDUCED_RESOLUTION = 1
_ENTRY_BYTES = 12
_PNG = b"\x89PNG\r\n\x1a\n"
# In the range of the JPEG markers SOF0 to SOF15 but no frame headers: DHT, JPG (reserved) and DAC.
_NO_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_CONTAINER_BRANDS = {b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}


def read_head(path: Path) -> bytes:
    """The first megabyte of a file, in which the header of a picture is looked for."""
    with path.open("rb") as file:
        return file.read(_MAX_HEADER_BYTES)


def sniff(head: bytes) -> str | None:
    """The format (a key of `PILLOW_NAMES`) of the file that begins with `head`; None if it is none of them.

    `head` is the first `SNIFF_BYTES` of the file, or all of a smaller one.
    """
    if head.startswith(b"\xff\xd8\xff"):
        # After fill bytes a marker must follow: 0x00 is none, and none below 0xC0 may be the first.
        marker = head[2:].lstrip(b"\xff")[:1]
        return "jpeg" if b"\xc0" <= marker <= b"\xfe" else None
    if head.startswith(_PNG):
        # Apple's private variant begins with the chunk CgBI, and no decoder here understands it.
        return "png" if head[12:16] == b"IHDR" else None
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif" if len(head) >= 13 else None
    if head[:4] == b"RIFF":
        return "webp" if head[8:12] == b"WEBP" and head[12:16] in (b"VP8 ", b"VP8L", b"VP8X") else None
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff" if len(head) >= 8 and not _is_raw(head) else None
    if head[:2] == b"BM":
        # Many texts begin with these two letters, so the size of the header is checked, too.
        has_known_header = int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES
        return "bmp" if len(head) >= 26 and has_known_header else None
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    return None


def read_claimed_size(format_: str, head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels in the header of the GIF or WebP file that begins with `head`.

    None if the header is incomplete. Pillow allocates the whole picture when it opens such a file, so its
    size has to be read before.
    """
    if format_ == "gif":
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    kind, body = head[12:16], head[20:30]
    if len(body) < (5 if kind == b"VP8L" else 10):
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def read_jpeg_depth(data: bytes) -> int | None:
    """Bits a channel of the JPEG file that begins with `data`; None if its frame header is not in `data`."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADERS:
            return data[at + 4]
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def is_format(format: str, head: bytes) -> bool:  # noqa: A002 (the word of the wire contract)
    """Whether `sniff` recognises the file that begins with `head` as `format`."""
    return sniff(head) == format


def _is_raw(head: bytes) -> bool:
    """Whether a TIFF is a camera's raw file (DNG, NEF, ARW, CR2).

    The first picture in those is a thumbnail, with others below it. So it is in some files of scanners and
    programs, but these do not name the maker of a camera, as TIFF/EP demands.
    """
    if head[8:10] == b"CR":
        return True
    byte_order = "<" if head[:1] == b"I" else ">"
    start = struct.unpack_from(f"{byte_order}I", head, 4)[0] + 2
    count = max(0, len(head) - start) // _ENTRY_BYTES
    entries = struct.iter_unpack(f"{byte_order}HHII", head[start : start + count * _ENTRY_BYTES])
    tags = {tag: value for tag, _, _, value in entries}
    if _DNG_VERSION in tags:
        return True
    return tags.get(_SUBFILE_TYPE) == _REDUCED_RESOLUTION and {_SUB_DIRECTORIES, _MAKE} <= tags.keys()


def _sniff_brands(head: bytes) -> str | None:
    """AVIF or HEIC by the brands in a `ftyp` box; None for videos, which have the same container."""
    size = int.from_bytes(head[:4], "big")
    if size < 16 or size % 4:
        return None
    major = head[8:12]
    end = min(size, len(head))
    brands = {major, *(head[at : at + 4] for at in range(16, end - 3, 4))}
    if major in _AVIF_BRANDS or (major in _CONTAINER_BRANDS and brands & _AVIF_BRANDS):
        return "avif"
    if major in _HEIC_BRANDS or (major in _CONTAINER_BRANDS and brands & _HEIC_BRANDS):
        return "heic"
    return None
