"""BMP files put together by hand, by the description of each kind in the public test suite "bmpsuite"."""

import struct
from dataclasses import dataclass

from PIL import Image

from tests.samples.picture import picture

_CORE, _OS2, _V3, _V5 = 12, 64, 56, 124
_RLE8, _RLE4, _BIT_FIELDS, _RLE24 = 1, 2, 3, 4


@dataclass(frozen=True)
class Bmp:
    """How a file is made: its bits a pixel, its header, and what is special."""

    bits: int
    header: int = 40
    compression: int = 0
    masks: tuple[int, ...] = ()
    palette: int = 0
    """Entries of the palette."""
    stated: int | None = None
    """Entries that the header says there are, if it says another number."""
    top_down: bool = False
    profile: bytes = b""
    width: int = 64


GOOD_BMPS = {
    "pal1": Bmp(1, palette=2),
    "pal1wb": Bmp(1, palette=2),
    "pal4": Bmp(4, palette=16),
    "pal4rle": Bmp(4, compression=_RLE4, palette=16),
    "pal8": Bmp(8, palette=250),
    "pal8-0": Bmp(8, palette=256, stated=0),
    "pal8os2": Bmp(8, header=_CORE, palette=256),
    "pal8rle": Bmp(8, compression=_RLE8, palette=250),
    "pal8topdown": Bmp(8, palette=250, top_down=True),
    "pal8v4": Bmp(8, header=108, palette=250),
    "pal8v5": Bmp(8, header=_V5, palette=250),
    "pal8w62": Bmp(8, palette=250, width=62),
    "pal8w61": Bmp(8, palette=250, width=61),
    "rgb16": Bmp(16, masks=(0x7C00, 0x3E0, 0x1F)),
    "rgb16bfdef": Bmp(16, compression=_BIT_FIELDS, masks=(0x7C00, 0x3E0, 0x1F)),
    "rgb16-565": Bmp(16, compression=_BIT_FIELDS, masks=(0xF800, 0x7E0, 0x1F), width=61),
    "rgb16-565pal": Bmp(16, compression=_BIT_FIELDS, masks=(0xF800, 0x7E0, 0x1F), palette=256),
    "rgb24": Bmp(24, width=61),
    "rgb24pal": Bmp(24, palette=256),
    "rgb24os2": Bmp(24, header=_CORE),
    "rgb32": Bmp(32, masks=(0xFF0000, 0xFF00, 0xFF)),
    "rgb32bf": Bmp(32, compression=_BIT_FIELDS, masks=(0xFF00000, 0xFF000, 0xFF)),
    "rgb32bfdef": Bmp(32, compression=_BIT_FIELDS, masks=(0xFF0000, 0xFF00, 0xFF)),
}
"""The kinds that every program should read, by their names in that suite."""

OTHER_BMPS = {
    "pal2": Bmp(2, palette=4),
    "rgb16-231": Bmp(16, compression=_BIT_FIELDS, masks=(0x60, 0x1C, 0x3)),
    "rgb32-111110": Bmp(32, compression=_BIT_FIELDS, masks=(0xFFE00000, 0x1FFC00, 0x3FF)),
    "rgb32-7187": Bmp(32, compression=_BIT_FIELDS, masks=(0xFE000000, 0x1FFFF80, 0x7F)),
    "rgb32topdown": Bmp(32, compression=_BIT_FIELDS, masks=(0xFF, 0xFF00, 0xFF0000), top_down=True),
    "rgb24rle24": Bmp(24, header=_OS2, compression=_RLE24),
}
"""Kinds about which programs differ."""

ALPHA_BMPS = {
    "rgba16-1924": Bmp(16, header=_V3, compression=_BIT_FIELDS, masks=(0x8000, 0x7FC0, 0x30, 0xF)),
    "rgba16-4444": Bmp(16, header=_V5, compression=_BIT_FIELDS, masks=(0xF00, 0xF0, 0xF, 0xF000)),
    "rgba16-5551": Bmp(16, header=_V5, compression=_BIT_FIELDS, masks=(0x7C00, 0x3E0, 0x1F, 0x8000)),
    "rgba32": Bmp(32, header=_V5, compression=_BIT_FIELDS, masks=(0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "rgba32-1010102": Bmp(
        32, header=_V5, compression=_BIT_FIELDS, masks=(0x3FF, 0xFFC00, 0x3FF00000, 0xC0000000)
    ),
    "rgba32abf": Bmp(32, compression=6, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
}
"""Kinds with an alpha channel; the last one has its masks after the header."""


BMPS = GOOD_BMPS | OTHER_BMPS | ALPHA_BMPS
"""All of them."""


def bmp_picture(bmp: Bmp) -> Image.Image:
    """The picture in `raw_bmp` of this kind: `picture`, with as many colours as the palette has."""
    image = picture(bmp.width, 48, "RGBA" if len(bmp.masks) > 3 else "RGB")
    if bmp.bits > 8:
        return image
    return image.quantize(bmp.palette, dither=Image.Dither.NONE)


def raw_bmp(bmp: Bmp) -> bytes:
    """A BMP file of this kind, 48 pixels high."""
    image = bmp_picture(bmp)
    rows = [image.crop((0, y, image.width, y + 1)) for y in range(image.height)]
    packed = [_pack(row, bmp) for row in rows]
    if not bmp.top_down:
        packed.reverse()
    if bmp.compression in (_RLE8, _RLE4, _RLE24) and not (bmp.bits > 8 and bmp.header != _OS2):
        pixels = b"".join(_runs(row, bmp.bits) for row in packed) + b"\0\1"
    else:
        pixels = b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in packed)
    return _headers(bmp, image, pixels) + pixels + bmp.profile


def _headers(bmp: Bmp, image: Image.Image, pixels: bytes) -> bytes:
    entry = 3 if bmp.header == _CORE else 4
    colours = (image.getpalette("RGB") or []) if image.mode == "P" else [0] * 768
    palette = b""
    for red, green, blue in zip(*(iter([*colours, *[0] * 768][: 3 * bmp.palette]),) * 3, strict=True):
        palette += bytes((blue, green, red)).ljust(entry, b"\0")
    masks = struct.pack(f"<{len(bmp.masks)}I", *bmp.masks) if bmp.compression in (_BIT_FIELDS, 6) else b""
    if bmp.header == _CORE:
        header = struct.pack("<I4H", _CORE, bmp.width, 48, 1, bmp.bits)
    else:
        stated = bmp.palette if bmp.stated is None else bmp.stated
        header = struct.pack("<IiiHH", bmp.header, bmp.width, -48 if bmp.top_down else 48, 1, bmp.bits)
        header += struct.pack("<IIiiII", bmp.compression, len(pixels), 2835, 2835, stated, 0) + masks
        header = header.ljust(bmp.header, b"\0")
    start = 14 + len(header) + len(palette)
    if bmp.header == _V5:
        space = b"DEBM" if bmp.profile else b"BGRs"
        at = start - 14 + len(pixels) if bmp.profile else 0
        header = header[:56] + space + header[60:112] + struct.pack("<II", at, len(bmp.profile)) + bytes(4)
    return struct.pack("<2sIII", b"BM", start + len(pixels), 0, start) + header + palette


def _pack(row: Image.Image, bmp: Bmp) -> bytes:
    """The pixels of one row: indices, or colours whose channels lie where the masks say."""
    if bmp.bits <= 8:
        if bmp.compression:
            return row.tobytes()
        digits = "".join(f"{index:0{bmp.bits}b}" for index in row.tobytes())
        return bytes(int(digits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(digits), 8))
    if bmp.bits == 24:
        return row.tobytes("raw", "BGR")
    words = bytearray()
    values = row.tobytes()
    channels = len(row.getbands())
    for at in range(0, len(values), channels):
        word = 0
        for value, mask in zip(values[at : at + channels], bmp.masks, strict=True):
            lowest = mask & -mask
            word |= round(value * (mask // lowest) / 255) * lowest
        words += word.to_bytes(bmp.bits // 8, "little")
    return bytes(words)


def _runs(row: bytes, bits: int) -> bytes:
    """One row as run lengths: a run, pixels one by one, and runs of one."""
    step = 3 if bits == 24 else 1
    pixels = [row[at : at + step] for at in range(0, len(row), step)]
    first = next((at for at, each in enumerate(pixels) if each != pixels[0]), len(pixels))
    literal = pixels[first : first + 5]
    result = bytes((first,)) + (pixels[0] if bits != 4 else bytes((pixels[0][0] * 17,)))
    if len(literal) == 5:
        data = b"".join(literal)
        if bits == 4:
            nibbles = [*data, 0]
            data = bytes(nibbles[at] << 4 | nibbles[at + 1] for at in range(0, 6, 2))
        result += bytes((0, 5)) + data + bytes(len(data) % 2)
        first += 5
    for each in pixels[first:]:
        result += b"\1" + (each if bits != 4 else bytes((each[0] << 4,)))
    return result + b"\0\0"
