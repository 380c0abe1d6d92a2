"""Draw docs/contact-sheet.jpg: every kind of sample image as stored, beside the variants made of it."""

import argparse
import sys
import tempfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageCms, ImageDraw, ImageFont, ImageSequence

from tests import samples
from tests.samples import TiffKind
from tests.samples.raw_bmp import BMPS, raw_bmp
from workers.cicp import make_profile
from workers.codecs import load_codecs
from workers.colour import SRGB, to_eight_bit
from workers.imaging import create_files, make_variants
from workers.messages import Task

_ROOT = Path(__file__).resolve().parent.parent
_SIZE = (120, 90)
_VARIANTS = ("jpeg=96", "webp=96@webp", "avif=96@avif", "png=96@png", "small=40")
_BOX = (96, 72)
_CELL = (102, 92)
_GAP = 6
_CAPTION = 16
_HEAD = 42
_ACROSS = 3
_CHECKS = ((255, 255, 255), (214, 214, 214))
_DARK, _PAPER = (30, 30, 30), (250, 250, 248)

_DISPLAY_P3 = samples.rgb_profile(2.2, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_ADOBE_RGB = samples.rgb_profile(2.2, (0.640, 0.330), (0.210, 0.710), (0.150, 0.060))


def _in_profile(icc: bytes, format_: str) -> bytes:
    """The picture encoded in a wider colour space: the same colours by paler numbers."""
    file = BytesIO()
    _pale(icc).save(file, format_, icc_profile=icc, **({} if format_ == "PNG" else {"quality": 92}))
    return file.getvalue()


def _pale(icc: bytes) -> Image.Image:
    space = ImageCms.ImageCmsProfile(BytesIO(icc))
    image = ImageCms.profileToProfile(samples.picture(*_SIZE), SRGB, space)
    assert image is not None
    return image


def _by_code_points(primaries: int, transfer: int) -> bytes:
    """The picture as a PNG whose colour space is named by code points (cICP), without a profile."""
    icc = make_profile((primaries, transfer))
    assert icc is not None
    return samples.raw_png(*_SIZE, 8, 2, _packed(_pale(icc)), cICP=bytes((primaries, transfer, 0, 1)))


def _packed(image: Image.Image) -> bytes:
    rows = (b"\0" + image.crop((0, y, image.width, y + 1)).tobytes() for y in range(image.height))
    return zlib.compress(b"".join(rows))


def _press() -> bytes:
    """A CMYK profile of a printing press whose inks are duller than the screen's primaries."""
    inks = {}
    for corner in ((c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)):
        cyan, magenta, yellow, black = corner
        red, green, blue = 1 - 0.9 * cyan, 1 - 0.85 * magenta, 1 - 0.8 * yellow
        green, blue = green * (1 - 0.35 * cyan), blue * (1 - 0.45 * magenta) * (1 - 0.2 * cyan)
        seen = tuple(round(255 * each * (1 - 0.9 * black)) for each in (red, green, blue))
        lab = ImageCms.profileToProfile(
            Image.new("RGB", (1, 1), seen), SRGB, ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert lab is not None
        light, a, b = lab.tobytes()
        # Pillow's bytes are signed, those of a profile begin at -128.
        inks[corner] = (light, (a + 128) % 256, (b + 128) % 256)
    return samples.cmyk_profile(inks)


def _linear_png() -> bytes:
    image = samples.picture(*_SIZE).point([round(255 * (value / 255) ** 2.2) for value in range(256)] * 3)
    return samples.raw_png(*_SIZE, 8, 2, _packed(image), gAMA=(100_000).to_bytes(4, "big"))


def picture(mode: str = "RGB") -> Image.Image:
    """The picture of all samples."""
    return samples.picture(*_SIZE, mode)


def _light_tiff() -> bytes:
    linear = samples.rgb_profile(1.0, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
    light = picture().point([round(255 * (value / 255) ** 2.2) for value in range(256)] * 3)
    return samples.sampled_tiff(light, TiffKind("f32", more=((34_675, linear),)))


def _lab_tiff() -> bytes:
    lab = ImageCms.profileToProfile(picture(), SRGB, ImageCms.createProfile("LAB"), outputMode="LAB")
    assert lab is not None
    return samples.sampled_tiff(lab, TiffKind(photometric=9))


def _by_exif() -> bytes:
    file = BytesIO()
    _pale(_ADOBE_RGB).save(file, "JPEG", quality=92, exif=b"Exif\0\0" + samples.adobe_rgb_exif())
    return file.getvalue()


def _turned(format_: str, orientation: int) -> bytes:
    return samples.encoded(samples.stored_as(orientation, samples.picture(*_SIZE)), format_, orientation)


def shown() -> dict[str, bytes]:
    """Every sample on the sheet, by its caption."""
    size = _SIZE
    files = {f"JPEG, orientation {turn}": samples.jpeg(*size, orientation=turn) for turn in range(1, 9)}
    files |= {
        f"{format_.upper()}, orientation {turn}": _turned(format_, turn)
        for format_ in ("png", "webp", "tiff", "avif", "heic")
        for turn in (6, 7)
    }
    makers: dict[str, Callable[[], bytes]] = {
        "JPEG, progressive": lambda: samples.jpeg(*size, progressive=True),
        "JPEG, grey": lambda: samples.jpeg(*size, mode="L"),
        "JPEG, CMYK without profile": lambda: samples.jpeg(*size, mode="CMYK"),
        "JPEG, CMYK of a press": lambda: samples.jpeg(*size, mode="CMYK", icc_profile=_press()),
        "JPEG, Display P3": lambda: _in_profile(_DISPLAY_P3, "JPEG"),
        "JPEG, Adobe RGB": lambda: _in_profile(_ADOBE_RGB, "JPEG"),
        "PNG, Display P3": lambda: _in_profile(_DISPLAY_P3, "PNG"),
        "PNG, P3 by code points": lambda: _by_code_points(12, 13),
        "WebP, Adobe RGB": lambda: _in_profile(_ADOBE_RGB, "WEBP"),
        "HEIC, Display P3": lambda: _in_profile(_DISPLAY_P3, "HEIF"),
        "AVIF, Display P3": lambda: _in_profile(_DISPLAY_P3, "AVIF"),
        "PNG, alpha": lambda: samples.png(*size, mode="RGBA"),
        "PNG, grey and alpha": lambda: samples.png(*size, mode="LA"),
        "PNG, palette": lambda: samples.png(*size, mode="P"),
        "PNG, one bit": lambda: samples.png(*size, mode="1"),
        "PNG, 16-bit grey": lambda: samples.png(*size, mode="I;16"),
        "PNG, 16 bits a channel": lambda: samples.deep_png(*size),
        "PNG, 16 bits, interlaced": lambda: samples.deep_png(*size, interlaced=True),
        "PNG, linear by its gamma": _linear_png,
        "PNG, animated": lambda: samples.apng(*size),
        "WebP": lambda: samples.webp(*size),
        "WebP, alpha": lambda: samples.webp(*size, mode="RGBA"),
        "WebP, animated": lambda: samples.animated_webp(*size),
        "GIF": lambda: samples.gif(*size),
        "GIF, transparent": lambda: samples.gif_transparent(*size),
        "GIF, animated": lambda: samples.gif(*size, frames=4),
        "TIFF, LZW": lambda: samples.tiff(*size, compression="tiff_lzw"),
        "TIFF, CMYK": lambda: samples.tiff(*size, mode="CMYK"),
        "TIFF, 16 bits a channel": lambda: samples.deep_tiff(*size),
        "TIFF, 16 bits, tiled": lambda: samples.deep_tiff(128, 96, tile=16),
        "TIFF, floating point": lambda: samples.tiff(*size, mode="F"),
        "TIFF, floats in linear light": _light_tiff,
        "TIFF, 10 bits in planes": lambda: samples.sampled_tiff(picture(), TiffKind("u10", planes=True)),
        "TIFF, CMYK with alpha": lambda: samples.sampled_tiff(
            [*picture("CMYK").split(), picture("RGBA").getchannel("A")], TiffKind(photometric=5, extra=(2,))
        ),
        "TIFF, CIELAB of 16 bits": _lab_tiff,
        "TIFF, behind its thumbnail": lambda: samples.thumbnail_tiff(picture(), TiffKind("u8"), {254: [1]}),
        "JPEG, Adobe RGB by EXIF": _by_exif,
        "BMP, bit fields": lambda: raw_bmp(BMPS["rgb32-7187"]),
        "BMP, one bit of alpha": lambda: raw_bmp(BMPS["rgba16-5551"]),
        "BMP, run lengths of 24 bits": lambda: raw_bmp(BMPS["rgb24rle24"]),
        "BMP": lambda: samples.bmp(*size),
        "BMP, palette": lambda: samples.bmp(*size, mode="P"),
        "AVIF, alpha": lambda: samples.avif(*size, mode="RGBA"),
        "HEIC, alpha": lambda: samples.heic(*size, mode="RGBA"),
    }
    return files | {name: maker() for name, maker in makers.items()}


def stored(data: bytes) -> Image.Image:
    """The pixels of a file taken for sRGB and without its orientation: what the service must not show.

    A grey square where Pillow refuses the file.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
            return to_eight_bit(image).copy()
    except (OSError, SyntaxError):
        return Image.new("RGB", _BOX, _CHECKS[1])


def variants(data: bytes, *specs: str) -> list[Image.Image]:
    """What the workers make of a file, decoded."""
    with tempfile.TemporaryDirectory(prefix="spillway-contact-") as name:
        source, folder = Path(name, "upload"), Path(name, "made")
        folder.mkdir()
        source.write_bytes(data)
        task = Task("sheet", str(source), str(folder), specs or _VARIANTS, 10**6, 30.0, 2**30)
        done = make_variants(task, create_files(task))
        return [Image.open(BytesIO((folder / made.file).read_bytes())) for made in done.made]


def frames(data: bytes) -> list[Image.Image]:
    """The frames of an animation that stays one."""
    moving = variants(data, "moving=96@webp+anim")[0]
    return [frame.copy() for frame in ImageSequence.Iterator(moving)]


def sheet() -> Image.Image:
    """The whole sheet."""
    files = shown()
    rows = [(name, [stored(data), *variants(data)]) for name, data in files.items()]
    rows += [
        (f"{name}: frames of its webp+anim", frames(data))
        for name, data in files.items()
        if "animated" in name
    ]
    titles = ["as stored", *(spec.replace("=", " ").partition("@")[0] for spec in _VARIANTS)]
    wide, high = _CELL
    group = len(titles) * wide + 3 * _GAP
    down = -(-len(rows) // _ACROSS)
    paper = Image.new("RGB", (_ACROSS * group + _GAP, _HEAD + down * high), _PAPER)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
    for index, (name, pictures) in enumerate(rows):
        left, top = _GAP + index // down * group, _HEAD + index % down * high
        if index % down == 0:
            for column, title in enumerate(titles):
                draw.text((left + column * wide, _HEAD - 18), title, _DARK, font)
        draw.text((left, top), name, _DARK, font)
        for column, picture in enumerate(pictures):
            _paste(paper, picture, left + column * wide, top + _CAPTION)
    draw.text(
        (_GAP, 4),
        "Every sample, as it is stored (TIFF and HEIC: as their readers turn it) and as it is served",
        _DARK,
        ImageFont.load_default(15),
    )
    return paper


def _paste(paper: Image.Image, picture: Image.Image, left: int, top: int) -> None:
    """Draw `picture` with its top left corner there; transparent parts show a chequered ground."""
    scale = min(1.0, _BOX[0] / picture.width, _BOX[1] / picture.height)
    if scale < 1:
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    ground = Image.new("RGB", picture.size, _CHECKS[0])
    draw = ImageDraw.Draw(ground)
    for x in range(0, picture.width, 8):
        for y in range(x // 8 % 2 * 8, picture.height, 16):
            draw.rectangle((x, y, x + 7, y + 7), _CHECKS[1])
    image = picture.convert("RGBA")
    ground.paste(image, mask=image.getchannel("A"))
    paper.paste(ground, (left, top))


def main() -> int:
    """Draw it where the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=_ROOT / "docs" / "contact-sheet.jpg")
    given = parser.parse_args()
    load_codecs()
    sheet().save(given.file, "JPEG", quality=68, optimize=True)
    print(f"{given.file}: {given.file.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
