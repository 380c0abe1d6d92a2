"""Test images, made in memory: every format that is taken, the odd kinds of each, and what must be refused.

Every function answers the bytes of a file. Pictures are deterministic: four coloured corners on a gradient,
so that a turned, mirrored or recoloured picture is told from the right one.
"""

import struct
import zlib
from io import BytesIO
from typing import Any

import pillow_heif
from PIL import Image, ImageDraw

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 40), (40, 60, 210), (230, 210, 40)
CORNERS = (RED, GREEN, BLUE, YELLOW)
"""Colours of the corners: top left, top right, bottom left, bottom right."""

SECRET = b"hidden-in-the-metadata"
"""Text that the samples carry in every place for metadata; nothing served may contain it."""

Chromaticity = tuple[float, float]

_LATITUDE = (48.0, 51.0, 30.0)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """The picture of all samples, in `mode`: each quarter is a corner's colour, shaded towards the middle."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for index, colour in enumerate(CORNERS):
        left, top = (index % 2) * (width - width // 3), (index // 2) * (height - height // 3)
        draw.rectangle((left, top, left + width // 3, top + height // 3), fill=colour)
    if mode in ("RGBA", "LA"):
        alpha = Image.new("L", (width, height), 255)
        ImageDraw.Draw(alpha).rectangle((0, height // 2, width, height), fill=0)
        image.putalpha(alpha)
    if mode == "P":
        return image.quantize(64)
    return image if image.mode == mode else image.convert(mode)


def stored_as(orientation: int, image: Image.Image) -> Image.Image:
    """`image` as a camera stores it under an EXIF `orientation` (1 to 8): applying that gives it back."""
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return image if orientation == 1 else image.transpose(inverse[orientation])


def exif(orientation: int = 1, *, gps: bool = False, thumbnail: bytes | None = None) -> bytes:
    """An EXIF block with an `orientation`, a secret description, and optionally a place and a thumbnail."""
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = SECRET.decode()
    if gps:
        block.get_ifd(0x8825).update({1: "N", 2: _LATITUDE, 3: "E", 4: _LATITUDE})
    data = block.tobytes()
    return data if thumbnail is None else _with_thumbnail(data, thumbnail)


def jpeg(
    width: int = 64,
    height: int = 48,
    *,
    mode: str = "RGB",
    orientation: int = 1,
    gps: bool = False,
    thumbnail: bytes | None = None,
    **options: Any,
) -> bytes:
    """A JPEG (mode L, RGB or CMYK) whose EXIF says `orientation`; `options` go to Pillow's encoder."""
    image = stored_as(orientation, picture(width, height, mode))
    block = exif(orientation, gps=gps, thumbnail=thumbnail)
    return _saved(image, "JPEG", **{"quality": 92, "exif": block, "comment": SECRET, **options})


def png(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """A PNG of Pillow's `mode` (1, L, LA, P, RGB, RGBA, I;16)."""
    if mode == "I;16":
        grey = picture(width, height, "L").convert("I").point(lambda value: value * 257 + 0)
        return _saved(grey.convert("I;16"), "PNG", **options)
    return _saved(picture(width, height, mode), "PNG", **options)


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


def webp(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """A WebP, with `mode` RGBA a transparent one."""
    return _saved(picture(width, height, mode), "WEBP", **{"quality": 92, **options})


def gif(width: int = 64, height: int = 48, *, frames: int = 1) -> bytes:
    """A GIF; with more than one of `frames` an animation of 80 ms a frame that plays three times."""
    return _animation("GIF", width, height, frames, loop=2)


def apng(width: int = 64, height: int = 48, *, frames: int = 3) -> bytes:
    """An animated PNG of 80 ms a frame."""
    return _animation("PNG", width, height, frames)


def tiff(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """A TIFF of Pillow's `mode` (RGB, CMYK, L, I;16, F, …)."""
    return _saved(picture(width, height, mode), "TIFF", **options)


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


def bmp(width: int = 64, height: int = 48, *, mode: str = "RGB") -> bytes:
    """A BMP."""
    return _saved(picture(width, height, mode), "BMP")


def avif(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """An AVIF."""
    return _saved(picture(width, height, mode), "AVIF", **{"quality": 92, "speed": 9, **options})


def heic(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """An HEIC file, as telephones make them."""
    pillow_heif.register_heif_opener()
    return _saved(picture(width, height, mode), "HEIF", **{"quality": 92, **options})


def encoded(image: Image.Image, format_: str, orientation: int) -> bytes:
    """`image` as it is, in a format by its lower-case name, with EXIF that says `orientation`."""
    name = {"heic": "HEIF"}.get(format_, format_.upper())
    quality = {} if format_ in ("png", "tiff") else {"quality": 95}
    return _saved(image, name, exif=exif(orientation), **quality)


def animated_webp(width: int = 64, height: int = 48, *, frames: int = 3) -> bytes:
    """An animated WebP of 80 ms a frame."""
    return _animation("WEBP", width, height, frames, quality=95)


def gif_transparent(width: int = 64, height: int = 48) -> bytes:
    """A GIF whose lower half is transparent."""
    return _saved(picture(width, height, "RGBA"), "GIF")


def packed_rows(width: int, height: int, pixel: bytes) -> bytes:
    """Compressed rows for `raw_png`, all of one `pixel`."""
    return zlib.compress((b"\0" + pixel * width) * height)


def truncated(data: bytes, share: float = 0.6) -> bytes:
    """The first `share` of a file, as a broken upload leaves it."""
    return data[: int(len(data) * share)]


def bomb_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A few kilobytes that claim, and would unpack to, a vast picture."""
    return raw_png(width, height, 8, 0, zlib.compress(bytes(1_000_000), 9))


def bomb_gif() -> bytes:
    """44 bytes that claim the largest picture a GIF can."""
    size = struct.pack("<HH", 65_535, 65_535)
    return b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0" + size + b"\0\x02\x02D\x01\0;"


def pretenders() -> dict[str, bytes]:
    """Files that are no image taken here, by a name for each."""
    return {
        "empty": b"",
        "text": b"BM is how many a text begins, and GIF, and RIFF too.\n" * 4,
        "zip": b"PK\x03\x04" + bytes(60),
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "html": b"<!DOCTYPE html><html><body>GIF89a</body></html>",
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
        "elf": b"\x7fELF\x02\x01\x01" + bytes(57),
        "mp4": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(32),
        "quicktime": b"\0\0\0\x14ftypqt  \0\0\x02\0qt  " + bytes(32),
        "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(32),
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(32),
        "icon": b"\0\0\x01\0\x01\0\x10\x10" + bytes(32),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(32),
        "cut jpeg": b"\xff\xd8\xff",
        "cut png": b"\x89PNG\r\n\x1a\n",
    }


def rgb_profile(gamma: float, red: Chromaticity, green: Chromaticity, blue: Chromaticity) -> bytes:
    """An ICC profile of a display with these primaries (CIE x, y; white D50) and one `gamma`."""
    primaries = [_xyz(*red), _xyz(*green), _xyz(*blue)]
    weights = _solved(primaries, (0.9642, 1.0, 0.8249))
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    for name, primary, weight in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, weights, strict=True):
        tags[name] = b"XYZ " + bytes(4) + b"".join(_fixed(value * weight) for value in primary)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def cmyk_profile(inks: dict[tuple[int, int, int, int], tuple[int, int, int]]) -> bytes:
    """An ICC profile of a press: `inks` gives the Lab colour (8 bits each) of some full inks, else white."""
    nodes = bytearray()
    for index in range(16):
        corner = (index >> 3 & 1, index >> 2 & 1, index >> 1 & 1, index & 1)
        nodes += bytes(inks.get(corner, (255, 128, 128)))
    matrix = b"".join(_fixed(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + ramp * 4 + bytes(nodes) + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _saved(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def _animation(format_: str, width: int, height: int, count: int, **options: Any) -> bytes:
    # Each frame is turned on, so that no encoder merges two that are alike.
    frames = [picture(width, height).rotate(90 * index) for index in range(count)]
    if count == 1:
        return _saved(frames[0], format_)
    return _saved(frames[0], format_, save_all=True, append_images=frames[1:], duration=80, **options)


def _with_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    """Append a second directory to the EXIF block `data`, and its JPEG, as cameras do."""
    body = bytearray(data.removeprefix(b"Exif\0\0"))
    order = "<" if body[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", body, 4)[0]
    link = first + 2 + 12 * struct.unpack_from(order + "H", body, first)[0]
    second = len(body)
    struct.pack_into(order + "I", body, link, second)
    start = second + 2 + 3 * 12 + 4
    body += struct.pack(order + "H", 3)
    body += struct.pack(order + "HHIHH", 259, 3, 1, 6, 0)
    body += struct.pack(order + "HHII", 513, 4, 1, start)
    body += struct.pack(order + "HHII", 514, 4, 1, len(thumbnail))
    return b"Exif\0\0" + bytes(body) + bytes(4) + thumbnail


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


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + SECRET + b"\0",
        b"wtpt": b"XYZ " + bytes(4) + _fixed(0.9642) + _fixed(1.0) + _fixed(0.8249),
        **tags,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, kind, space, connection)
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += _fixed(0.9642) + _fixed(1.0) + _fixed(0.8249)
    return header.ljust(128, b"\0") + table + body


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(x: float, y: float) -> tuple[float, float, float]:
    return x / y, 1.0, (1 - x - y) / y


def _solved(columns: list[tuple[float, float, float]], target: tuple[float, float, float]) -> list[float]:
    """Weights of three columns that sum up to `target`, by Cramer's rule."""

    def determinant(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
        return (
            a[0] * (b[1] * c[2] - b[2] * c[1])
            - b[0] * (a[1] * c[2] - a[2] * c[1])
            + c[0] * (a[1] * b[2] - a[2] * b[1])
        )

    whole = determinant(*columns)
    return [
        determinant(*(target if place == index else column for place, column in enumerate(columns))) / whole
        for index in range(3)
    ]
