"""Write one variant: pixels alone, no metadata of the source."""

from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from workers.formats import EXTENSIONS, PILLOW_NAMES
from workers.variants import Variant

WEBP_MAX_SIDE = 16_383
"""Longest side in pixels that a WebP file can hold."""

_WHITE = 255
_ICON = 64
"""Longest side in pixels up to which a JPEG keeps all its colours: halved, those of an icon run together."""


def largest_side(variant: Variant) -> int:
    """Longest side in pixels that `variant` can have: what it asks for, or what its format can hold."""
    return min(variant.side, WEBP_MAX_SIDE) if variant.format == "webp" else variant.side


def file_name(variant: Variant) -> str:
    """Plain name of the file that `variant` is written to."""
    return f"{variant.name}.{EXTENSIONS[variant.format]}"


def encode(image: Image.Image, variant: Variant, path: Path) -> None:
    """Write `image` (L, LA, RGB or RGBA, sRGB) as `variant` to `path`; may raise OSError."""
    image = bare(image)
    if variant.format == "jpeg":
        image = flattened(image)
    more = {"subsampling": "4:4:4"} if variant.format == "jpeg" and max(image.size) <= _ICON else {}
    with created(path) as file:
        image.save(file, PILLOW_NAMES[variant.format], **options(variant), **more)


def created(path: Path) -> BinaryIO:
    """`path` as a new file, open for writing; what was there is removed, and no link is followed.

    A job that is tried again finds what an earlier process left, which may have been hostile.
    """
    path.unlink(missing_ok=True)
    return path.open("xb")


def options(variant: Variant) -> dict[str, Any]:
    """What the encoder of the variant's format is told."""
    if variant.format == "png":
        return {}
    if variant.format == "avif":
        # One thread: a job has one processor, and threads would multiply its address space.
        return {"quality": variant.quality, "speed": 8, "max_threads": 1}
    if variant.format == "webp":
        # Half the time of libwebp's usual 4, for files that are 4 % larger; 3 takes as long as 4.
        return {"quality": variant.quality, "method": 2}
    return {"quality": variant.quality}


def bare(image: Image.Image) -> Image.Image:
    """`image` rid of all that an encoder could take from it beside pixels: profile, comment, text, pages."""
    if isinstance(image, ImageFile.ImageFile):
        image = image.copy()
    image.info = {}
    return image


def flattened(image: Image.Image) -> Image.Image:
    """`image` on white, where it has an alpha channel."""
    if image.mode not in ("LA", "RGBA"):
        return image
    colours = image.mode[:-1]
    ground = Image.new(colours, image.size, _WHITE if colours == "L" else (_WHITE,) * 3)
    ground.paste(image.convert(colours), mask=image.getchannel("A"))
    return ground
