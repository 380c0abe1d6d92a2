"""Writes one variant: its pixels only, without any metadata of the source."""

import os
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from workers.formats import EXTENSIONS, PILLOW_NAMES
from workers.variants import Variant

WEBP_MAX_SIDE = 16_383
"""Longest side in pixels that a WebP file can hold."""

_WHITE = 255
_MAX_ICON_SIDE = 64
"""Longest side in pixels up to which a JPEG has full colour resolution: at half of it, icons blur."""


def max_side(variant: Variant) -> int:
    """Longest side in pixels that `variant` can have: as configured, or as much as its format can hold."""
    return min(variant.side, WEBP_MAX_SIDE) if variant.format == "webp" else variant.side


def file_name(variant: Variant) -> str:
    """The name, without a directory, of the file that `variant` is written to."""
    return f"{variant.name}.{EXTENSIONS[variant.format]}"


def encode(image: Image.Image, variant: Variant, path: Path) -> None:
    """Write `image` (L, LA, RGB or RGBA, sRGB) as `variant` to the file `path`; raises OSError."""
    image = strip_metadata(image)
    if variant.format == "jpeg":
        image = flatten(image)
    subsampling = (
        {"subsampling": "4:4:4"} if variant.format == "jpeg" and max(image.size) <= _MAX_ICON_SIDE else {}
    )
    with open_file(path) as file:
        image.save(file, PILLOW_NAMES[variant.format], **encoder_options(variant), **subsampling)


def create_file(path: Path) -> None:
    """Create the empty file `path`; a file that exists is removed, and no link is followed.

    A job that is tried again may find files of an earlier process, which a hostile image may have controlled.
    """
    path.unlink(missing_ok=True)
    path.touch(exist_ok=False)


def open_file(path: Path) -> BinaryIO:
    """Open a file of `create_file` for writing: the process of a task may write files, but create none."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC), "wb")


def encoder_options(variant: Variant) -> dict[str, Any]:
    """The options for Pillow's encoder of the variant's format."""
    if variant.format == "png":
        return {}
    if variant.format == "avif":
        # One thread: a task has one processor, and each thread takes address space.
        return {"quality": variant.quality, "speed": 8, "max_threads": 1}
    if variant.format == "webp":
        # Method 2 takes half the time of the default 4, for files that are 4 % larger; 3 takes as long as 4.
        return {"quality": variant.quality, "method": 2}
    return {"quality": variant.quality}


def strip_metadata(image: Image.Image) -> Image.Image:
    """`image` without anything but pixels that an encoder could write: profile, comment, text, more pages."""
    if isinstance(image, ImageFile.ImageFile):
        image = image.copy()
    image.info = {}
    return image


def flatten(image: Image.Image) -> Image.Image:
    """`image` on a white background, if it has an alpha channel."""
    if image.mode not in ("LA", "RGBA"):
        return image
    colours = image.mode[:-1]
    background = Image.new(colours, image.size, _WHITE if colours == "L" else (_WHITE,) * 3)
    background.paste(image.convert(colours), mask=image.getchannel("A"))
    return background
