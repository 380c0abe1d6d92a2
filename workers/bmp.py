"""Decodes the kinds of BMP that Pillow refuses or shows without their alpha channel.

These are bit fields of any layout, two bits a pixel, and the run lengths of 24-bit pixels in files of OS/2.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile

from workers.failures import JobError

_FILE_HEADER_BYTES = 14
_CORE_HEADER_BYTES, _V3_HEADER_BYTES, _OS2_HEADER_BYTES, _V5_HEADER_BYTES = 12, 56, 64, 124
_PLAIN, _BIT_FIELDS, _RLE24, _ALPHA_BIT_FIELDS = 0, 3, 4, 6
_MAX_PROFILE_BYTES = 8 * 1024 * 1024
_EMBEDDED = b"DEBM"
"""The kind of colour space that is a profile in the file."""
_END_OF_LINE, _END_OF_PICTURE, _DELTA = 0, 1, 2
"""What may follow a 0 in run lengths, beside the number of pixels that are stored one by one."""
_RAW_MODES = {16: "I;16", 24: "RGB", 32: "RGBA"}
"""Modes of Pillow with as many bits a pixel."""
_USUAL_MASKS = {16: (0x7C00, 0x3E0, 0x1F), 24: (0xFF0000, 0xFF00, 0xFF), 32: (0xFF0000, 0xFF00, 0xFF)}


@dataclass(frozen=True, slots=True)
class BmpPicture:
    """The header of a BMP file whose pixels Pillow does not read, or not wholly."""

    path: Path
    header_bytes: int
    size: tuple[int, int]
    """Width and height in pixels."""
    top_down: bool
    bits: int
    compression: int
    masks: tuple[int, int, int, int]
    """Which bits of a pixel are red, green, blue and alpha."""
    pixels_at: int

    @property
    def mode(self) -> str:
        """Pillow's mode of what is held while it is decoded."""
        return "RGBA"

    @property
    def orientation(self) -> int:
        """The orientation that is to be applied."""
        return 1

    @property
    def is_run_length(self) -> bool:
        """Whether it has run lengths of 24-bit pixels; elsewhere their number stands for JPEG."""
        return self.header_bytes == _OS2_HEADER_BYTES and (self.compression, self.bits) == (_RLE24, 24)

    @property
    def has_bit_fields(self) -> bool:
        """Whether the channels are where the masks say; in files of OS/2 the number stands for Huffman."""
        is_windows = self.header_bytes not in (_CORE_HEADER_BYTES, _OS2_HEADER_BYTES)
        return is_windows and self.compression in (_BIT_FIELDS, _ALPHA_BIT_FIELDS) and self.bits in _RAW_MODES

    @property
    def has_two_bits(self) -> bool:
        """Whether a pixel is one of four colours."""
        return self.bits == 2 and self.compression == _PLAIN

    def decode(self) -> Image.Image:
        """The picture in mode P, RGB or RGBA; raises JobError if it is cut off."""
        data = self.path.read_bytes()
        return self._decode_runs(data) if self.is_run_length else self._decode_rows(data)

    def _decode_rows(self, data: bytes) -> Image.Image:
        row_bytes = (self.size[0] * self.bits + 31) // 32 * 4
        pixels = data[self.pixels_at : self.pixels_at + row_bytes * self.size[1]]
        if len(pixels) < row_bytes * self.size[1]:
            _check_truncation()
            pixels = pixels.ljust(row_bytes * self.size[1], b"\0")
        layout = row_bytes, 1 if self.top_down else -1
        if self.has_two_bits:
            image = Image.frombytes("P", self.size, pixels, "raw", "P;2", *layout)
            start, entry = _FILE_HEADER_BYTES + self.header_bytes, 4
            if self.header_bytes == _CORE_HEADER_BYTES:
                entry = 3
            image.putpalette(data[start : start + 4 * entry].ljust(4 * entry, b"\0"), "BGRX"[:entry])
            return image
        mode = _RAW_MODES[self.bits]
        packed = Image.frombytes(mode, self.size, pixels, "raw", mode, *layout).tobytes()
        *colours, alpha = (_take_bits(packed, self.size, self.bits // 8, mask) for mask in self.masks)
        if alpha.getextrema() == (0, 0):  # a file that has the mask for it, but nothing in it
            return Image.merge("RGB", colours)
        return Image.merge("RGBA", [*colours, alpha])

    def _decode_runs(self, data: bytes) -> Image.Image:
        width, height = self.size
        pixels = bytearray(3 * width * height)
        x, y, at = 0, 0, self.pixels_at
        while y < height:
            if at + 2 > len(data):
                _check_truncation()
                break
            count, second = data[at], data[at + 1]
            if count:
                run, at = data[at + 1 : at + 4].ljust(3, b"\0") * count, at + 4
            elif second == _END_OF_LINE:
                x, y, at = 0, y + 1, at + 2
                continue
            elif second == _END_OF_PICTURE:
                break
            elif second == _DELTA:
                right, down = data[at + 2 : at + 4].ljust(2, b"\0")
                x, y, at = x + right, y + down, at + 4
                continue
            else:
                run = data[at + 2 : at + 2 + 3 * second]
                at += 2 + (3 * second + 1) // 2 * 2
            run = run[: 3 * max(0, width - x)]
            start = 3 * (y * width + x)
            pixels[start : start + len(run)] = run
            x += len(run) // 3
        direction = 1 if self.top_down else -1
        return Image.frombytes("RGB", self.size, bytes(pixels), "raw", "BGR", 0, direction)


def read_bmp(path: Path) -> BmpPicture | None:
    """The picture in the BMP file `path` if Pillow does not read it, or not wholly; else None."""
    with path.open("rb") as file:
        head = file.read(_FILE_HEADER_BYTES + _V5_HEADER_BYTES).ljust(
            _FILE_HEADER_BYTES + _V5_HEADER_BYTES, b"\0"
        )
    pixels_at, header_bytes = struct.unpack_from("<II", head, 10)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<4H", head, 18)
        compression, masks = _PLAIN, (0, 0, 0, 0)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 18)
        masks = struct.unpack_from("<4I", head, 54)
    if header_bytes < _V3_HEADER_BYTES and compression != _ALPHA_BIT_FIELDS:
        masks = (*masks[:3], 0)
    if not any(masks[:3]):
        masks = (*_USUAL_MASKS.get(bits, (0, 0, 0)), masks[3])
    size = max(0, width), abs(height)
    picture = BmpPicture(path, header_bytes, size, height < 0, bits, compression, masks, pixels_at)
    return picture if picture.has_bit_fields or picture.has_two_bits or picture.is_run_length else None


def read_bmp_profile(path: Path) -> bytes | None:
    """The profile of colours in the BMP file `path`, if it has one (in its header of version 5)."""
    with path.open("rb") as file:
        head = file.read(_FILE_HEADER_BYTES + _V5_HEADER_BYTES)
        if len(head) < _FILE_HEADER_BYTES + _V5_HEADER_BYTES or head[14] != _V5_HEADER_BYTES:
            return None
        start, size = struct.unpack_from("<II", head, 126)
        if head[70:74] != _EMBEDDED or size > _MAX_PROFILE_BYTES:
            return None
        file.seek(_FILE_HEADER_BYTES + start)
        return file.read(size)


def _take_bits(packed: bytes, size: tuple[int, int], pixel_bytes: int, mask: int) -> Image.Image:
    """The channel whose bits `mask` has, scaled to 8 bits, from pixels that follow one another."""
    if not mask:
        return Image.new("L", size)
    # The 8 upper bits of a channel lie in two adjacent bytes.
    lowest = (mask & -mask).bit_length() - 1
    kept = min(8, mask.bit_length() - lowest)
    lowest = mask.bit_length() - kept
    byte = min(lowest // 8, pixel_bytes - 2)
    words = bytearray(2 * size[0] * size[1])
    words[::2], words[1::2] = packed[byte::pixel_bytes], packed[byte + 1 :: pixel_bytes]
    highest, shift = 2**kept - 1, lowest - 8 * byte
    scaled = [round(value * 255 / highest) for value in range(highest + 1)]
    table = [scaled[value >> shift & highest] for value in range(65_536)]
    return Image.frombytes("I;16", size, bytes(words)).convert("I").point(table, "L")


def _check_truncation() -> None:
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        raise JobError("undecodable", "The BMP ends before its picture does.")
