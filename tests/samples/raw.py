"""PNG and TIFF files put together by hand, as no encoder here makes them."""

import struct
import zlib

from tests.samples.picture import picture

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def raw_png(
    width: int, height: int, depth: int, colour: int, packed: bytes, *, interlace: int = 0, **chunks: bytes
) -> bytes:
    """A PNG of a header and the compressed rows `packed`, however little these fit one another."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    more = [(name.encode(), data) for name, data in chunks.items()]
    parts = [(b"IHDR", header), *more, (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def packed_rows(width: int, height: int, pixel: bytes) -> bytes:
    """Compressed rows for `raw_png`, all of one `pixel`."""
    return zlib.compress((b"\0" + pixel * width) * height)


def deep_png(width: int = 64, height: int = 48, *, interlaced: bool = False) -> bytes:
    """A PNG of 16 bits a channel, RGB; Adam7 interlaced where asked."""
    image = picture(width, height)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = bytearray()
    for left, top, across, down in passes:
        for y in range(top, height, down):
            pixels = [image.getpixel((x, y)) for x in range(left, width, across)]
            if pixels:
                rows.append(0)
                for pixel in pixels:
                    assert isinstance(pixel, tuple)
                    rows += b"".join(struct.pack(">H", value * 257) for value in pixel)
    return raw_png(width, height, 16, 2, zlib.compress(bytes(rows)), interlace=int(interlaced))


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
    return _raw_tiff(entries, blocks, *((324, 325) if tile else (273, 279)))


def _raw_tiff(entries: dict[int, list[int]], blocks: list[bytes], offsets: int, counts: int) -> bytes:
    body = bytearray(8)
    starts = []
    for block in blocks:
        starts.append(len(body))
        body += block
    entries = entries | {offsets: starts, counts: [len(block) for block in blocks]}
    directory = struct.pack("<H", len(entries))
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, place = struct.pack("<I", len(body)), packed
            body += place
        directory += struct.pack("<HHI", tag, 4, len(values)) + packed
    body[:8] = b"II*\0" + struct.pack("<I", len(body))
    return bytes(body) + directory + bytes(4)
