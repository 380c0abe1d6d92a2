"""Finds the chunks, segments, boxes and blocks of an image file, and its fields for lengths and dimensions.

For intact files only: these readers trust what they read, and stop where it makes no sense.
"""

import struct
import zlib
from dataclasses import dataclass, field

_STANDALONE = (0x01, *range(0xD0, 0xD9))
_FRAME_HEADERS = (0xC0, 0xC1, 0xC2)
_SCAN = 0xDA
_CONTAINERS = (b"meta", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl")
_PNG_HEAD = 8
_BIG_TIFF = 43
_TIFF_SIDES = (256, 257, 277, 278, 322, 323)
_SUB_DIRECTORIES = 330
_BMP_V5 = (54, 58, 62, 66, 70, 126, 130)
"""Where a BMP may have its masks, its kind of colour space, and the place and size of its profile."""


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned number in a file: `width` bytes at offset `at`, in `order` (`<` or `>`)."""

    at: int
    width: int
    order: str

    def written(self, data: bytearray, value: int) -> None:
        """Write `value` there, modulo its width."""
        end = min(self.at + self.width, len(data))
        kind = "little" if self.order == "<" else "big"
        packed = (value % (1 << 8 * self.width)).to_bytes(self.width, kind)  # type: ignore[arg-type]
        data[self.at : end] = packed[: end - self.at]


@dataclass(slots=True)
class Anatomy:
    """The structure of a file: `parts` (start, end) in order, and the fields for `lengths` and `sides`."""

    parts: list[tuple[int, int]] = field(default_factory=list)
    lengths: list[Number] = field(default_factory=list)
    sides: list[Number] = field(default_factory=list)


def anatomy(format_: str, data: bytes) -> Anatomy:
    """The anatomy of an intact file of this format."""
    found = Anatomy()
    reader = {"jpeg": _jpeg, "png": _png, "webp": _riff, "gif": _gif, "tiff": _tiff, "bmp": _bmp}
    reader.get(format_, _boxes_of_all)(data, found)
    return found


def mended_png(data: bytes) -> bytes:
    """`data` with the checksum of each chunk corrected, as far as the lengths of chunks make sense."""
    mended, at = bytearray(data), _PNG_HEAD
    while at + 12 <= len(mended):
        end = at + 8 + struct.unpack_from(">I", mended, at)[0]
        if end + 4 > len(mended):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(mended[at + 4 : end]))
        at = end + 4
    return bytes(mended)


def _jpeg(data: bytes, found: Anatomy) -> None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _STANDALONE:
            at += 2
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        found.lengths.append(Number(at + 2, 2, ">"))
        if marker in _FRAME_HEADERS:
            found.sides += [Number(at + 5, 2, ">"), Number(at + 7, 2, ">")]
        if marker == _SCAN:
            while end + 1 < len(data) and not (data[end] == 0xFF and data[end + 1] not in (0, *_STANDALONE)):
                end += 1
        found.parts.append((at, end))
        at = end


def _png(data: bytes, found: Anatomy) -> None:
    at = _PNG_HEAD
    found.sides += [Number(16, 4, ">"), Number(20, 4, ">")]
    while at + 12 <= len(data):
        found.lengths.append(Number(at, 4, ">"))
        end = at + 12 + struct.unpack_from(">I", data, at)[0]
        if data[at + 4 : at + 8] == b"fcTL":
            found.sides += [Number(at + 12 + 4 * index, 4, ">") for index in range(4)]
        found.parts.append((at, end))
        at = end


def _riff(data: bytes, found: Anatomy) -> None:
    found.lengths.append(Number(4, 4, "<"))
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        found.lengths.append(Number(at + 4, 4, "<"))
        if kind == b"VP8X":
            found.sides += [Number(at + 12, 3, "<"), Number(at + 15, 3, "<")]
        elif kind == b"VP8 ":
            found.sides += [Number(at + 14, 2, "<"), Number(at + 16, 2, "<")]
        elif kind == b"VP8L":
            found.sides.append(Number(at + 9, 4, "<"))
        elif kind == b"ANMF":
            found.sides += [Number(at + 8 + 3 * index, 3, "<") for index in range(4)]
        end = at + 8 + size + size % 2
        found.parts.append((at, min(end, len(data))))
        at = end


def _gif(data: bytes, found: Anatomy) -> None:
    found.sides += [Number(6, 2, "<"), Number(8, 2, "<")]
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at < len(data) and data[at] in (0x21, 0x2C):
        start = at
        if data[at] == 0x2C:
            found.sides += [Number(at + 1 + 2 * index, 2, "<") for index in range(4)]
            at += 11 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0)
        else:
            at += 2
        while at < len(data) and data[at]:
            found.lengths.append(Number(at, 1, "<"))
            at += 1 + data[at]
        at += 1
        found.parts.append((start, min(at, len(data))))


def _tiff(data: bytes, found: Anatomy) -> None:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == _BIG_TIFF
    # The bytes of an offset, of the count of entries, and of an entry.
    wide, count_bytes, entry_bytes = (8, 8, 20) if big else (4, 2, 12)
    waiting = [8 if big else 4]  # where the offsets of directories are
    while waiting:
        at = waiting.pop()
        found.lengths.append(Number(at, wide, order))
        start = _read(data, at, wide, order)
        if not 0 < start < len(data):
            continue
        found.lengths.append(Number(start, count_bytes, order))
        first = start + count_bytes
        end = first + entry_bytes * _read(data, start, count_bytes, order)
        for entry in range(first, end, entry_bytes):
            tag = struct.unpack_from(order + "H", data, entry)[0]
            found.parts.append((entry, entry + entry_bytes))
            found.lengths += [Number(entry, 2, order), Number(entry + 2, 2, order)]
            found.lengths.append(Number(entry + 4, wide, order))
            # The field holds the value itself or its offset; for these tags it is a number of pixels.
            value = Number(entry + 4 + wide, wide, order)
            (found.sides if tag in _TIFF_SIDES else found.lengths).append(value)
            if tag == _SUB_DIRECTORIES:
                waiting.append(value.at)
        waiting.append(end)


def _read(data: bytes, at: int, width: int, order: str) -> int:
    return int.from_bytes(data[at : at + width], "little" if order == "<" else "big")


def _bmp(data: bytes, found: Anatomy) -> None:
    found.sides += [Number(18, 4, "<"), Number(22, 4, "<")]
    found.lengths += [Number(at, 4, "<") for at in (2, 10, 14, 30, 34, 46, 50, *_BMP_V5)] + [
        Number(28, 2, "<")
    ]
    found.parts += [(at, at + 16) for at in range(0, len(data) - 16, 16)]


def _boxes_of_all(data: bytes, found: Anatomy) -> None:
    _boxes(data, 0, len(data), found)


def _boxes(data: bytes, at: int, end: int, found: Anatomy) -> None:
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I", data, at)[0], data[at + 4 : at + 8]
        stop = at + size if 8 <= size <= end - at else end
        found.lengths.append(Number(at, 4, ">"))
        if kind == b"ispe":
            found.sides += [Number(at + 12, 4, ">"), Number(at + 16, 4, ">")]
        if kind in (b"iloc", b"iinf", b"iref", b"ipma", b"stsz", b"stco"):
            found.lengths += [Number(place, 2, ">") for place in range(at + 8, min(stop, at + 80) - 1, 2)]
        if kind in _CONTAINERS:
            _boxes(data, at + 8 + (4 if kind == b"meta" else 0), stop, found)
        else:
            found.parts.append((at, stop))
        at = stop
