"""Decodes still WebP pictures by libwebp, in half of the memory that Pillow's plugin takes.

Pillow decodes every WebP as an animation, on canvases that take 16 bytes a pixel. The libwebp that it has
loaded decodes a still picture into memory that is handed to it, where it is scaled down without a copy.
"""

import ctypes
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, _webp

from workers.failures import JobError
from workers.formats import SNIFF_BYTES, read_claimed_size
from workers.orientation import read_orientation, turned
from workers.scaling import resize
from workers.shapes import Size, copy_size
from workers.variants import Variant

_MAX_CHUNKS = 1024
_MAX_METADATA_BYTES = 8 * 1024 * 1024
_METADATA = {b"ICCP": "icc_profile", b"EXIF": "exif"}
"""Pillow's names of what is in these chunks."""
_ANIMATION, _ALPHA = 0x02, 0x10
_LOSSLESS_ALPHA = 0x10
"""In the fourth byte after the signature of a lossless picture."""


def _load() -> Callable[..., Any] | None:
    """The decoding function of the libwebp that Pillow has loaded; None if this Pillow hides it."""
    try:
        function = ctypes.CDLL(_webp.__file__).WebPDecodeRGBAInto
    except AttributeError:
        return None
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


_DECODE = _load()


@dataclass(frozen=True, slots=True)
class WebpPicture:
    """A still WebP picture; `info` has its profile and its EXIF, by Pillow's names."""

    path: Path
    size: Size
    """Width and height as stored."""
    needed: Size
    """The width and height to which it may be scaled down."""
    has_alpha: bool
    info: dict[str | tuple[int, int], Any]

    @property
    def mode(self) -> str:
        """Pillow's mode of the decoded picture."""
        return "RGBA" if self.has_alpha else "RGB"

    @property
    def orientation(self) -> int:
        """The orientation that is to be applied (1 to 8)."""
        return read_orientation(self.info)

    def decode(self) -> Image.Image:
        """The picture with its `info`, without alpha at the size that is needed; raises JobError."""
        assert _DECODE is not None  # noqa: S101 (narrows the type: `read_webp` has checked it)
        data = self.path.read_bytes()
        stride = 4 * self.size[0]
        pixels = bytearray(stride * self.size[1])
        if not _DECODE(data, len(data), _address(pixels), len(pixels), stride):
            raise JobError("undecodable", "The WebP is cut off or damaged.")
        if self.has_alpha:
            image = _in_place("RGBA", self.size, pixels)
        else:
            # Of Pillow's modes with four bytes a pixel, CMYK is the one whose channels are all scaled alike.
            # The fourth byte means nothing, and is dropped where RGBX becomes RGB.
            scaled = resize(_in_place("CMYK", self.size, pixels), self.needed)
            image = _in_place("RGBX", self.needed, scaled.tobytes() if self.needed != self.size else pixels)
        image.info |= self.info
        return image


def _in_place(mode: str, size: Size, pixels: bytes | bytearray) -> Image.Image:
    """The pixels, of four bytes each, as a picture that uses them where they are."""
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)


def _address(buffer: bytearray) -> ctypes.Array[ctypes.c_char]:
    return (ctypes.c_char * len(buffer)).from_buffer(buffer)


def read_webp(path: Path, variants: Sequence[Variant]) -> WebpPicture | None:
    """The picture in the WebP file `path`, of which `variants` will be made.

    None if it moves, or is left to Pillow for another reason.
    """
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
        size = read_claimed_size("webp", head)
        if _DECODE is None or size is None or 0 in size:
            return None
        kind, flags = head[12:16], head[20]
        if kind == b"VP8L":
            return WebpPicture(path, size, copy_size(variants, size), bool(head[24] & _LOSSLESS_ALPHA), {})
        if kind == b"VP8 ":
            return WebpPicture(path, size, copy_size(variants, size), False, {})
        if flags & _ANIMATION:
            return None
        info = _read_metadata(file)
    orientation = read_orientation(info)
    needed = turned(copy_size(variants, turned(size, orientation)), orientation)
    return WebpPicture(path, size, needed, bool(flags & _ALPHA), info)


def _read_metadata(file: BinaryIO) -> dict[str | tuple[int, int], Any]:
    info: dict[str | tuple[int, int], Any] = {}
    at = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            break
        kind, size = struct.unpack("<4sI", header)
        if kind in _METADATA and size <= _MAX_METADATA_BYTES:
            info.setdefault(_METADATA[kind], file.read(size))
        at += 8 + size + size % 2
    return info
