"""Reads the directories of a TIFF file, which describe its pictures, and finds the one to be shown."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO


class Tag(IntEnum):
    """The tags that are read; all others are passed over."""

    NEW_SUBFILE_TYPE = 254
    SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    ORIENTATION = 274
    SAMPLES = 277
    PLANAR = 284
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    SUB_DIRECTORIES = 330
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    PROFILE = 34_675


_TAGS = frozenset(Tag)
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BIG = 43
_MAX_ENTRIES = 1024
_MAX_DIRECTORIES = 64
_MAX_VALUE_BYTES = 8 * 1024 * 1024
_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType: the picture is a smaller version of another one, or a mask for it."""
_OLD_REDUCED = 2
"""The value of the old SubfileType of a picture that is a smaller version of another one."""

Entry = tuple[int, bytes]
"""The type of a value, and its bytes in the order of the file."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One picture of a TIFF file, by its tags."""

    order: str
    """`<` or `>`, as for `struct`."""
    big: bool
    offset: int
    following: int
    """The offset of the next directory; 0 if there is none."""
    entries: dict[int, Entry]

    @property
    def is_the_picture(self) -> bool:
        """Whether this is neither a thumbnail of another picture nor a mask."""
        kind = self.number(Tag.NEW_SUBFILE_TYPE)
        return not kind & (_REDUCED | _MASK) and self.number(Tag.SUBFILE_TYPE) != _OLD_REDUCED

    def numbers(self, tag: Tag) -> tuple[int, ...]:
        """The integers that `tag` has; none if it is missing or has others."""
        kind, value = self.entries.get(tag, (0, b""))
        code = _INTEGERS.get(kind)
        if code is None:
            return ()
        return struct.unpack(f"{self.order}{len(value) // _TYPE_BYTES[kind]}{code}", value)

    def number(self, tag: Tag, default: int = 0) -> int:
        """The first integer that `tag` has."""
        return (*self.numbers(tag), default)[0]


def find_picture(file: BinaryIO) -> tuple[Directory, bytes]:
    """The first picture in `file` that is neither a thumbnail nor a mask.

    Also the header of a file that would begin with it; empty if this one does. Thumbnails have the picture in
    a directory below them (SubIFDs), or in the next one. Where all are thumbnails, the first counts. Raises
    struct.error for a file that is broken.
    """
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", head, 2)[0] == _BIG
    code, at = (f"{order}Q", 8) if big else (f"{order}I", 4)
    first = _read_directory(file, order, struct.unpack_from(code, head, at)[0], big=big)
    if first.is_the_picture:
        return first, b""
    found = next((each for each in _walk(file, first) if each.is_the_picture), first)
    return found, head[:at] + struct.pack(code, found.offset)


def _walk(file: BinaryIO, first: Directory) -> Iterator[Directory]:
    """The directories below and after `first`: those below come before the next one."""
    waiting = [first]
    seen = {first.offset}
    while waiting:
        directory = waiting.pop()
        if directory is not first:
            yield directory
        offsets = [*directory.numbers(Tag.SUB_DIRECTORIES), directory.following]
        for offset in reversed([each for each in offsets if each and each not in seen]):
            if len(seen) == _MAX_DIRECTORIES:
                break
            seen.add(offset)
            try:
                waiting.append(_read_directory(file, first.order, offset, big=first.big))
            except struct.error:
                continue


def _read_directory(file: BinaryIO, order: str, start: int, *, big: bool) -> Directory:
    length = os.fstat(file.fileno()).st_size
    offset, count, inline_bytes = ("Q", "Q", 8) if big else ("I", "H", 4)
    entry = struct.Struct(f"{order}HH{offset}{inline_bytes}s")
    file.seek(min(start, length))
    (entries,) = struct.unpack(f"{order}{count}", file.read(struct.calcsize(count)))
    table = file.read(entry.size * min(entries, _MAX_ENTRIES))
    rest = file.read(inline_bytes)
    (following,) = struct.unpack(f"{order}{offset}", rest) if len(rest) == inline_bytes else (0,)
    found: dict[int, Entry] = {}
    for tag, kind, values, field in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
        value_bytes = values * _TYPE_BYTES.get(kind, 0)
        if tag not in _TAGS or not 0 < value_bytes <= min(length, _MAX_VALUE_BYTES):
            continue
        if value_bytes <= inline_bytes:
            found[tag] = kind, field[:value_bytes]
        else:
            file.seek(min(struct.unpack(f"{order}{offset}", field)[0], length))
            value = file.read(value_bytes)
            if len(value) == value_bytes:
                found[tag] = kind, value
    return Directory(order, big, start, following, found)
