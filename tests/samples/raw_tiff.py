"""TIFF files put together by hand: classic and big, of both byte orders, in strips, tiles and planes."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from tests.samples.picture import picture

_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_UNCOMPRESSED, _DEFLATE = 1, 8
_SEPARATE, _FLOAT = 2, 3
_PHOTOMETRIC = {"L": 1, "RGB": 2, "CMYK": 5, "LAB": 8}
_STRIP_ROWS = 16
_COLOUR_MAP = 320

Entries = dict[int, list[int] | bytes]
"""Tags with integers, or with bytes of an undefined kind."""


@dataclass(frozen=True)
class TiffKind:
    """How the pixels of a file are stored.

    `depth` is `u` or `f` (unsigned, float) and the number of bits; `tile` is the side of its tiles, 0 for
    strips of 16 rows; `photometric` None stands for the usual one of the picture's mode.
    """

    depth: str = "u16"
    order: str = "<"
    big: bool = False
    tile: int = 0
    planes: bool = False
    deflate: bool = False
    photometric: int | None = None
    extra: tuple[int, ...] = ()
    more: tuple[tuple[int, bytes | int], ...] = ()
    """Further tags."""


def sampled_tiff(image: Image.Image | Sequence[Image.Image], kind: TiffKind | None = None) -> bytes:
    """A TIFF of the channels of `image`, or of these pictures in mode L, as samples of this kind.

    With alpha it has an extra sample for it, unless the kind has others.
    """
    return raw_tiff(*_directory(image, kind or TiffKind()))


def thumbnail_tiff(
    image: Image.Image, kind: TiffKind, flag: dict[int, list[int]], *, below: bool = False
) -> bytes:
    """A TIFF whose first picture is a black one of 16 x 12 pixels with the tags of `flag`, before `image`.

    The latter is described by the next directory, or by one below the first.
    """
    first = _directory(Image.new("RGB", (16, 12)), TiffKind("u8", kind.order, kind.big))
    first[0].update(flag)
    return raw_tiff(*first, following=_directory(image, kind), below=below)


def deep_tiff(width: int = 64, height: int = 48, *, tile: int = 0) -> bytes:
    """A TIFF of 16 bits a channel, RGB; in square tiles of `tile` pixels (a multiple of 16) where asked."""
    return sampled_tiff(picture(width, height), TiffKind(tile=tile))


@dataclass(frozen=True)
class Layout:
    """What a directory has beside its tags: its strips or tiles, and the format of the file."""

    blocks: list[bytes]
    tiled: bool = False
    order: str = "<"
    big: bool = False


def raw_tiff(
    entries: Entries,
    layout: Layout,
    following: "tuple[Entries, Layout] | None" = None,
    *,
    below: bool = False,
) -> bytes:
    """A TIFF with these tags, and perhaps with a second directory after or below the first."""
    body = bytearray(16)
    number = layout.order + ("Q" if layout.big else "I")
    second = 0
    if following is not None:
        second = _append(body, following[0], following[1], 0)
        if below:
            entries, second = {**entries, 330: [second]}, 0
    first = _append(body, entries, layout, second)
    head = b"II" if layout.order == "<" else b"MM"
    if layout.big:
        head += struct.pack(f"{layout.order}HHH", 43, 8, 0) + struct.pack(number, first)
    else:
        head += struct.pack(f"{layout.order}H", 42) + struct.pack(number, first)
    body[: len(head)] = head
    return bytes(body)


def _append(body: bytearray, entries: Entries, layout: Layout, following: int) -> int:
    """Append blocks and a directory; the offset of the latter."""
    order, number, number_bytes = layout.order, "Q" if layout.big else "I", 8 if layout.big else 4
    starts = []
    for block in layout.blocks:
        starts.append(len(body))
        body += block
    offsets, counts = (324, 325) if layout.tiled else (273, 279)
    entries = entries | {offsets: starts, counts: [len(block) for block in layout.blocks]}
    directory = struct.pack(order + ("Q" if layout.big else "H"), len(entries))
    for tag, values in sorted(entries.items()):
        if isinstance(values, bytes):
            type_, count, packed = _UNDEFINED, len(values), values
        else:
            type_, count = _SHORT if tag == _COLOUR_MAP else _LONG, len(values)
            packed = struct.pack(f"{order}{count}{'H' if tag == _COLOUR_MAP else 'I'}", *values)
        if len(packed) > number_bytes:
            packed, place = struct.pack(order + number, len(body)), packed
            body += place
        directory += struct.pack(f"{order}HH{number}", tag, type_, count)
        directory += packed.ljust(number_bytes, b"\0")
    body += bytes(len(body) % 2)
    at = len(body)
    body += directory + struct.pack(order + number, following)
    return at


def _directory(image: Image.Image | Sequence[Image.Image], kind: TiffKind) -> tuple[Entries, Layout]:
    bands = image.split() if isinstance(image, Image.Image) else tuple(image)
    mode = image.mode if isinstance(image, Image.Image) else "L"
    bits, (width, height) = int(kind.depth[1:]), bands[0].size
    photometric = _PHOTOMETRIC[mode.removesuffix("A")] if kind.photometric is None else kind.photometric
    extra = kind.extra or ((2,) if mode in ("LA", "RGBA") else ())
    entries: Entries = {256: [width], 257: [height], 258: [bits] * len(bands)}
    entries |= {259: [_DEFLATE if kind.deflate else _UNCOMPRESSED], 262: [photometric], 277: [len(bands)]}
    entries |= {322: [kind.tile], 323: [kind.tile]} if kind.tile else {278: [_STRIP_ROWS]}
    entries |= {284: [_SEPARATE]} if kind.planes else {}
    entries |= {338: list(extra)} if extra else {}
    entries |= {339: [_FLOAT] * len(bands)} if kind.depth.startswith("f") else {}
    entries |= {tag: value if isinstance(value, bytes) else [value] for tag, value in kind.more}
    across, down = (kind.tile, kind.tile) if kind.tile else (width, _STRIP_ROWS)
    groups = [[band] for band in bands] if kind.planes else [list(bands)]
    blocks = [
        _pack([band.crop((x, y, x + across, y + down)) for band in group], kind)
        for group in groups
        for y in range(0, height, down)
        for x in range(0, width, across)
    ]
    if not kind.tile:  # the last strip may have fewer rows
        rows = -(-height // down)
        last = height - (rows - 1) * down
        for index in range(rows - 1, len(blocks), rows):
            blocks[index] = blocks[index][: len(blocks[index]) * last // down]
    if kind.deflate:
        blocks = [zlib.compress(block) for block in blocks]
    return entries, Layout(blocks, bool(kind.tile), kind.order, kind.big)


def _pack(bands: list[Image.Image], kind: TiffKind) -> bytes:
    """The samples of one block, pixel by pixel; each row begins at a byte."""
    bits = int(kind.depth[1:])
    values = list(zip(*(band.tobytes() for band in bands), strict=True))
    if kind.depth in ("f16", "f32", "f64"):
        code = {16: "e", 32: "f", 64: "d"}[bits]
        flat = [value / 255 for each in values for value in each]
        return struct.pack(f"{kind.order}{len(flat)}{code}", *flat)
    if kind.depth == "f24":
        flat24 = [_float24(value / 255) for each in values for value in each]
        return b"".join(value.to_bytes(3, "little" if kind.order == "<" else "big") for value in flat24)
    samples = [_integer(value, bits) for each in values for value in each]
    if bits in (8, 16, 24, 32):
        order = "little" if kind.order == "<" else "big"
        return b"".join(value.to_bytes(bits // 8, order) for value in samples)
    row = len(bands) * bands[0].width
    packed = b""
    for at in range(0, len(samples), row):
        digits = "".join(f"{value:0{bits}b}" for value in samples[at : at + row])
        digits = digits.ljust(-(-len(digits) // 8) * 8, "0")
        packed += int(digits, 2).to_bytes(len(digits) // 8, "big")
    return packed


def _integer(value: int, bits: int) -> int:
    """The value, of 255, with so many bits; of 16 the low byte is noise, so that its use is noticed."""
    if bits == 16 and 0 < value < 255:
        return value << 8 | (value * 91 & 0x7F)
    return round(value * (2**bits - 1) / 255)


def _float24(value: float) -> int:
    """A float of 24 bits: 7 bits of exponent, whose bias is 63, and 16 of mantissa."""
    (wide,) = struct.unpack("<I", struct.pack("<f", value))
    exponent = (wide >> 23) - 127 + 63
    return 0 if exponent <= 0 else exponent << 16 | (wide >> 7 & 0xFFFF)
