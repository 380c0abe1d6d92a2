"""Reads the kinds of TIFF that Pillow shows wrongly or refuses, by presenting them to it as other kinds.

With 16 bits a channel in separate planes, each plane is presented as a grey picture; so is a picture whose
zero is white, which is inverted afterwards. A big-endian BigTIFF is presented as a classic TIFF.
"""

import os
import struct
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageChops, ImageFile

from workers.colour import to_eight_bit
from workers.failures import JobError

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 262, 274, 277
_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 273, 279, 324, 325
_PLANAR, _EXTRA, _FORMAT, _ICC = 284, 338, 339, 34_675
_DROPPED = (_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES, _ORIENTATION, 330, 34_665, 34_853)
"""Tags that hold offsets into the file, and the orientation, which is applied later."""
_SHORT, _LONG = 3, 4
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_CLASSIC, _BIG = 42, 43
_MAX_ENTRIES = 1024
_SEPARATE = 2
_WHITE_IS_ZERO = 0
_MODES = {0: "L", 1: "L", 2: "RGB", 5: "CMYK"}
"""By the photometric interpretation."""
_WITH_ALPHA = {("L", 1): "La", ("L", 2): "LA", ("RGB", 1): "RGBa", ("RGB", 2): "RGBA"}
"""By the mode without it, and the kind of alpha channel: the colours have been multiplied by 1, not by 2."""

Entry = tuple[int, bytes]
"""The type of a value, and its bytes in the order of the file."""


@dataclass(frozen=True, slots=True)
class TiffPicture:
    """The first picture of a TIFF file, of a kind that Pillow does not read."""

    path: Path
    order: str
    """`<` or `>`, as for `struct`."""
    big: bool
    entries: dict[int, Entry]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return self._number(_WIDTH), self._number(_HEIGHT)

    @property
    def orientation(self) -> int:
        """The orientation that is to be applied: 1 to 8 in a valid file."""
        return self._number(_ORIENTATION, 1)

    def is_for_pillow(self) -> bool:
        """Whether Pillow reads this picture itself, or refuses it for good reason."""
        return not (self._is_deep_grey() or self._is_deep_and_planar() or (self.big and self.order == ">"))

    def decode(self) -> Image.Image:
        """The picture with 8 bits a channel, and its profile in `info`; raises what Pillow raises."""
        if self._is_deep_and_planar() or self._is_deep_grey():
            image = self._merge_planes()
        else:
            image = self._decode_part(self._blocks(), self.entries)
        if _ICC in self.entries:
            image.info["icc_profile"] = self.entries[_ICC][1]
        return image

    def _merge_planes(self) -> Image.Image:
        photometric, samples = self._number(_PHOTOMETRIC), self._number(_SAMPLES, 1)
        mode = _MODES[photometric]
        extra = (*self._numbers(_EXTRA), 0)[0]
        colours = len(Image.new(mode, (1, 1)).getbands())
        mode = _WITH_ALPHA.get((mode, extra), mode) if samples > colours else mode
        wanted = len(Image.new(mode, (1, 1)).getbands())
        blocks = self._blocks()
        count = len(blocks) // samples
        grey = {_BITS: self._short(16), _PHOTOMETRIC: self._short(1), _SAMPLES: self._short(1)}
        entries = {tag: entry for tag, entry in self.entries.items() if tag not in (_PLANAR, _EXTRA, _ICC)}
        entries = {**entries, **grey, _FORMAT: self._short(1)}
        planes = [
            to_eight_bit(self._decode_part(blocks[count * index : count * (index + 1)], entries))
            for index in range(wanted)
        ]
        if photometric == _WHITE_IS_ZERO:
            planes[0] = ImageChops.invert(planes[0])
        return Image.merge(mode, planes)

    def _decode_part(self, blocks: list[bytes], entries: dict[int, Entry]) -> Image.Image:
        data = self._make_file(blocks, {tag: each for tag, each in entries.items() if tag not in _DROPPED})
        with Image.open(BytesIO(data), formats=["TIFF"]) as image:
            image.load()
            return image.copy()

    def _make_file(self, blocks: list[bytes], entries: dict[int, Entry]) -> bytes:
        """A classic TIFF of these strips or tiles, with these tags."""
        starts, body = [], bytearray(8)
        for block in blocks:
            starts.append(len(body))
            body += block
        offsets, sizes = (_TILES, _TILE_SIZES) if _TILES in self.entries else (_STRIPS, _STRIP_SIZES)
        entries = {
            **{
                tag: self._classic_entry(tag) if each is self.entries.get(tag) else each
                for tag, each in entries.items()
            },
            offsets: self._longs(starts),
            sizes: self._longs([len(block) for block in blocks]),
        }
        directory = struct.pack(f"{self.order}H", len(entries))
        for tag, (kind, value) in sorted(entries.items()):
            field = value.ljust(4, b"\0")
            if len(value) > 4:
                body += bytes(len(body) % 2)
                field = struct.pack(f"{self.order}I", len(body))
                body += value
            directory += struct.pack(f"{self.order}HHI", tag, kind, len(value) // _TYPE_BYTES[kind]) + field
        body += bytes(len(body) % 2)
        magic = b"II" if self.order == "<" else b"MM"
        body[:8] = magic + struct.pack(f"{self.order}HI", _CLASSIC, len(body))
        return bytes(body) + directory + bytes(4)

    def _classic_entry(self, tag: int) -> Entry:
        """The value of `tag` in a type that a classic TIFF has."""
        kind, value = self.entries[tag]
        return self._longs(list(self._numbers(tag))) if kind == 16 else (kind, value)

    def _blocks(self) -> list[bytes]:
        """The strips or tiles, as they are compressed."""
        tiled = _TILES in self.entries
        starts = self._numbers(_TILES if tiled else _STRIPS)
        sizes = self._numbers(_TILE_SIZES if tiled else _STRIP_SIZES)
        with self.path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            blocks = []
            for start, size in zip(starts, sizes, strict=True):
                file.seek(min(start, length))
                block = file.read(min(size, length))
                if len(block) < size and not ImageFile.LOAD_TRUNCATED_IMAGES:
                    raise JobError("undecodable", "The file ends before its picture does.")
                blocks.append(block.ljust(min(size, length), b"\0"))
        return blocks

    def _is_deep(self) -> bool:
        bits, formats = self._numbers(_BITS), self._numbers(_FORMAT)
        return set(bits) == {16} and set(formats) <= {1} and self._number(_PHOTOMETRIC, -1) in _MODES

    def _is_deep_and_planar(self) -> bool:
        channels = {0: 1, 1: 1, 2: 3, 5: 4}.get(self._number(_PHOTOMETRIC, -1), 99)
        samples = self._number(_SAMPLES, 1)
        return self._is_deep() and self._number(_PLANAR, 1) == _SEPARATE and max(channels, 2) <= samples <= 8

    def _is_deep_grey(self) -> bool:
        white_is_zero = self._number(_PHOTOMETRIC, -1) == _WHITE_IS_ZERO
        return self._is_deep() and white_is_zero and self._number(_SAMPLES, 1) == 1

    def _numbers(self, tag: int) -> tuple[int, ...]:
        kind, value = self.entries.get(tag, (_SHORT, b""))
        code = _INTEGERS.get(kind)
        return (
            ()
            if code is None
            else struct.unpack(f"{self.order}{len(value) // _TYPE_BYTES[kind]}{code}", value)
        )

    def _number(self, tag: int, default: int = 0) -> int:
        return (*self._numbers(tag), default)[0]

    def _short(self, value: int) -> Entry:
        return _SHORT, struct.pack(f"{self.order}H", value)

    def _longs(self, values: list[int]) -> Entry:
        return _LONG, struct.pack(f"{self.order}{len(values)}I", *values)


def read_tiff(path: Path) -> TiffPicture | None:
    """The first picture of the TIFF file `path` if it is of a kind that Pillow does not read, else None.

    None, too, for a file that is broken, which Pillow refuses.
    """
    try:
        with path.open("rb") as file:
            picture = _read_directory(path, file)
    except (struct.error, KeyError):
        return None
    return None if picture.is_for_pillow() else picture


def _read_directory(path: Path, file: BinaryIO) -> TiffPicture:
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", head, 2)[0] == _BIG
    length = os.fstat(file.fileno()).st_size
    offset, count, inline_bytes = ("Q", "Q", 8) if big else ("I", "H", 4)
    file.seek(min(struct.unpack_from(f"{order}{offset}", head, 8 if big else 4)[0], length))
    entry = struct.Struct(f"{order}HH{'Q' if big else 'I'}{inline_bytes}s")
    (entries,) = struct.unpack(f"{order}{count}", file.read(struct.calcsize(count)))
    table = file.read(entry.size * min(entries, _MAX_ENTRIES))
    picture = TiffPicture(path, order, big, {})
    found: dict[int, Entry] = {}
    for tag, kind, values, field in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
        value_bytes = values * _TYPE_BYTES.get(kind, 0)
        if 0 < value_bytes <= inline_bytes:
            found[tag] = kind, field[:value_bytes]
        elif 0 < value_bytes <= length:
            file.seek(min(struct.unpack(f"{order}{offset}", field)[0], length))
            found[tag] = kind, file.read(value_bytes)
    return replace(picture, entries=found)
