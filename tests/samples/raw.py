"""PNG files put together by hand, as no encoder here makes them."""

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
