"""TIFF files put together by hand: classic and big, of both byte orders, in strips, tiles and planes."""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from tests.samples.picture import picture

_LONG = 4
_UNCOMPRESSED, _DEFLATE = 1, 8
_SEPARATE = 2


def deep_tiff(width: int = 64, height: int = 48, *, tile: int = 0) -> bytes:
    """A TIFF of 16 bits a channel, RGB; in square tiles of `tile` pixels (a multiple of 16) where asked."""
    image = picture(width, height)
    side_x, side_y = (tile, tile) if tile else (width, height)
    blocks = [
        b"".join(
            struct.pack("<H", value * 257) for value in image.crop((x, y, x + side_x, y + side_y)).tobytes()
        )
        for y in range(0, height, side_y)
        for x in range(0, width, side_x)
    ]
    entries = {256: [width], 257: [height], 258: [16, 16, 16], 259: [1], 262: [2], 277: [3]}
    if tile:
        entries |= {322: [tile], 323: [tile]}
    else:
        entries |= {278: [height]}
    return raw_tiff(entries, blocks, *((324, 325) if tile else (273, 279)))


def planar_tiff(
    mode: str = "RGB", *, order: str = "<", tile: int = 0, deflate: bool = False, big: bool = False
) -> bytes:
    """A TIFF of 16 bits a channel in separate planes, 64 x 48 pixels; in RGB, RGBA or CMYK."""
    image = picture(64, 48, mode)
    blocks = [block for band in image.split() for block in _deep_blocks(band, order, tile)]
    channels = len(image.getbands())
    entries = {258: [16] * channels, 262: [5 if mode == "CMYK" else 2], 277: [channels], 284: [_SEPARATE]}
    entries |= {338: [2]} if mode == "RGBA" else {}
    return _deep_tiff(entries, blocks, order, tile, deflate=deflate, big=big)


def inverted_tiff(*, order: str = "<", tile: int = 0, deflate: bool = False) -> bytes:
    """A grey TIFF of 16 bits, 64 x 48 pixels, in which zero is white."""
    inverted = picture(64, 48, "L").point(lambda value: 255 - value)
    blocks = list(_deep_blocks(inverted, order, tile))
    return _deep_tiff({258: [16], 262: [0], 277: [1]}, blocks, order, tile, deflate=deflate)


def big_tiff(order: str) -> bytes:
    """A BigTIFF of 8 bits a channel, RGB, 64 x 48 pixels."""
    entries = {256: [64], 257: [48], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 278: [48]}
    return raw_tiff(entries, [picture(64, 48).tobytes()], 273, 279, order=order, big=True)


def raw_tiff(
    entries: dict[int, list[int]],
    blocks: list[bytes],
    offsets: int,
    counts: int,
    *,
    order: str = "<",
    big: bool = False,
) -> bytes:
    """A TIFF of these strips or tiles, with integers for its tags; `order` is as for `struct`."""
    number, number_bytes = ("Q", 8) if big else ("I", 4)
    body = bytearray(16)
    starts = []
    for block in blocks:
        starts.append(len(body))
        body += block
    entries = entries | {offsets: starts, counts: [len(block) for block in blocks]}
    directory = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > number_bytes:
            packed, place = struct.pack(order + number, len(body)), packed
            body += place
        directory += struct.pack(f"{order}HH{number}", tag, _LONG, len(values)) + packed.ljust(
            number_bytes, b"\0"
        )
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        *((f"{order}HHHQ", 43, 8, 0, len(body)) if big else (f"{order}HI", 42, len(body)))
    )
    body[: len(head)] = head
    return bytes(body) + directory + bytes(number_bytes)


def _deep_tiff(
    entries: dict[int, list[int]],
    blocks: list[bytes],
    order: str,
    tile: int,
    *,
    deflate: bool = False,
    big: bool = False,
) -> bytes:
    entries = {256: [64], 257: [48], 259: [_DEFLATE if deflate else _UNCOMPRESSED], **entries}
    entries |= {322: [tile], 323: [tile]} if tile else {278: [16]}
    if deflate:
        blocks = [zlib.compress(block) for block in blocks]
    return raw_tiff(entries, blocks, *((324, 325) if tile else (273, 279)), order=order, big=big)


def _deep_blocks(band: Image.Image, order: str, tile: int) -> Iterator[bytes]:
    """The tiles, or the strips of 16 rows, of a grey picture, with 16 bits."""
    across, down = (tile, tile) if tile else (band.width, 16)
    for y in range(0, band.height, down):
        for x in range(0, band.width, across):
            values = band.crop((x, y, x + across, y + down)).tobytes()
            # The low byte is noise, so that no mistake about the bytes goes unnoticed.
            words = [value << 8 | (value * 91 & 0xFF) for value in values]
            yield struct.pack(f"{order}{len(words)}H", *words)
