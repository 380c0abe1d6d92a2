"""Writes one variant: its pixels only, without any metadata of the source."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from workers.background import Colour
from workers.formats import EXTENSIONS, PILLOW_NAMES
from workers.variants import Variant

WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Colours:
    """The colour space of pictures, and the background that shows through where a format has no transparency.

    `background` is a colour of that space. `icc` is the profile to embed, or None for sRGB, which needs none.
    """

    background: Colour = WHITE
    icc: bytes | None = None


SRGB_ON_WHITE = Colours()

_MAX_ICON_SIDE = 64
"""Longest side in pixels up to which a JPEG has full colour resolution: at half of it, icons blur."""


def file_name(variant: Variant) -> str:
    """The name, without a directory, of the file that `variant` is written to."""
    return f"{variant.name}.{EXTENSIONS[variant.format]}"


def encode(image: Image.Image, variant: Variant, path: Path, colours: Colours = SRGB_ON_WHITE) -> None:
    """Write `image` (L, LA, RGB or RGBA) as `variant` to the file `path`; raises OSError."""
    image = strip_metadata(image)
    if variant.format == "jpeg":
        image = flatten(image, colours.background)
    options = encoder_options(variant, colours.icc)
    if variant.format == "jpeg" and max(image.size) <= _MAX_ICON_SIDE:
        options["subsampling"] = "4:4:4"
    with open_file(path) as file:
        image.save(file, PILLOW_NAMES[variant.format], **options)


def create_file(path: Path) -> None:
    """Create the empty file `path`; a file that exists is removed, and no link is followed.

    A job that is tried again may find files of an earlier process, which a hostile image may have controlled.
    """
    path.unlink(missing_ok=True)
    path.touch(exist_ok=False)


def open_file(path: Path) -> BinaryIO:
    """Open a file of `create_file` for writing: the process of a task may write files, but create none."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC), "wb")


def encoder_options(variant: Variant, icc: bytes | None = None) -> dict[str, Any]:
    """The options for Pillow's encoder of the variant's format, with a profile that is to be embedded."""
    options: dict[str, Any] = {} if icc is None else {"icc_profile": icc}
    if variant.format == "png":
        return options
    options["quality"] = variant.quality
    if variant.format == "avif":
        # One thread: a task has one processor, and each thread takes address space.
        options |= {"speed": 8, "max_threads": 1}
    if variant.format == "webp":
        # Method 2 takes half the time of the default 4, for files that are 4 % larger; 3 takes as long as 4.
        options["method"] = 2
    return options


def strip_metadata(image: Image.Image) -> Image.Image:
    """`image` without anything but pixels that an encoder could write: profile, comment, text, more pages."""
    if isinstance(image, ImageFile.ImageFile):
        image = image.copy()
    image.info = {}
    return image


def flatten(image: Image.Image, background: Colour = WHITE) -> Image.Image:
    """`image` on a background of this colour, if it has an alpha channel."""
    if image.mode not in ("LA", "RGBA"):
        return image
    colours = "L" if image.mode == "LA" and len(set(background)) == 1 else "RGB"
    flat = Image.new(colours, image.size, background[0] if colours == "L" else background)
    flat.paste(image.convert(colours), mask=image.getchannel("A"))
    return flat
