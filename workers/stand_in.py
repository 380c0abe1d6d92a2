"""The thumbnail embedded in a file, in place of its picture, which would take many times longer to decode.

It is used where it certainly shows the same: JPEG files have it in their EXIF, HEIC and AVIF files as an item
of their own. A file whose pixels were changed by a program that left the thumbnail as it was is recognised
where the shape, the size in the EXIF or the orientation no longer fits; a part that was painted over is not.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageFile, ImageStat

from workers.boxes import show_thumbnail
from workers.colour import Info
from workers.decode import BoundedFile, OpenedImage
from workers.exif_thumbnail import open_exif_thumbnail
from workers.formats import PILLOW_NAMES, read_head
from workers.orientation import read_exif
from workers.shapes import Size, needed_size
from workers.variants import Variant

_MODES = ("L", "RGB")
_SOURCE_MODES = ("L", "RGB", "CMYK")
"""Pillow's modes of pictures that have no transparency, which a thumbnail would lack."""
_MAX_PIXELS = 1024 * 1024
_TOLERANCE = 0.02
"""By which share of a side a thumbnail may differ from the picture's shape. One pixel is always allowed."""
_BLACK, _MIN_STEP = 20, 12
"""Mean brightness, of 255, that the bars beside a thumbnail may have, and how much lighter it begins."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """A decoded thumbnail, turned as the decoded picture of its file would be, and `info` of its colours."""

    image: Image.Image
    info: Info


def find_stand_in(source: OpenedImage, variants: Sequence[Variant]) -> StandIn | None:
    """The thumbnail of a file that is certainly one of it, and large enough for `variants`; else None."""
    truncated, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        return _find(source, variants)
    except Exception:  # whatever is wrong with it, there is still the picture
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated


def _find(source: OpenedImage, variants: Sequence[Variant]) -> StandIn | None:
    image = _open_jpeg_thumbnail(source) if source.format == "jpeg" else _open_item(source)
    if image is None or source.image.mode not in _SOURCE_MODES:
        return None
    image.load()
    info = image.info if "icc_profile" in image.info else source.info
    image = _cut_bars(image, source.image.size)
    size = source.turned(image.size)
    wanted = needed_size(variants, source.size)
    is_large_enough = size[0] >= wanted[0] and size[1] >= wanted[1]
    is_same = image.mode in _MODES and _has_shape(image.size, source.image.size)
    return StandIn(image, info) if is_large_enough and is_same else None


def _open_jpeg_thumbnail(source: OpenedImage) -> Image.Image | None:
    """The thumbnail in the EXIF; None if what else stands there does not fit the picture."""
    segment = source.image.info.get("exif", b"")
    exif = read_exif(source.image.info)
    photo, thumbnail = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.IFD1)
    told = [photo.get(tag) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    if any(is_told is not None for is_told in told) and tuple(told) != source.image.size:
        return None  # the picture was cut or scaled since
    if thumbnail.get(ExifTags.Base.Orientation, source.orientation) != source.orientation:
        return None
    return open_exif_thumbnail(segment, exif)


def _open_item(source: OpenedImage) -> Image.Image | None:
    """The thumbnail that is an item of its own in a file of the kind of HEIC."""
    if source.format not in ("heic", "avif"):
        return None
    path = Path(os.fsdecode(source.image.filename))  # type: ignore[attr-defined]  # it was opened from a path
    head = show_thumbnail(read_head(path))
    if head is None:
        return None
    image = Image.open(BoundedFile(path, head), formats=(PILLOW_NAMES[source.format],))
    return image if image.width * image.height <= _MAX_PIXELS else None


def _has_shape(size: Size, of: Size) -> bool:
    """Whether a picture of this `size` is one `of` that size, reduced."""
    (width, height), (full_width, full_height) = size, of
    return _is_close(height, width * full_height / full_width) or _is_close(
        width, height * full_width / full_height
    )


def _is_close(side: int, wanted: float) -> bool:
    return abs(side - wanted) <= max(1.0, _TOLERANCE * wanted)


def _cut_bars(image: Image.Image, of: Size) -> Image.Image:
    """The thumbnail without the black bars by which cameras make it 4 : 3, whatever the shape of the photo.

    They are cut off where the photo, in the middle of the thumbnail, begins exactly where the black ends.
    """
    if _has_shape(image.size, of) or image.mode not in _MODES:
        return image
    if of[0] * image.height < of[1] * image.width:  # bars at its sides
        turn = Image.Transpose.TRANSPOSE
        return _cut_bars(image.transpose(turn), of[::-1]).transpose(turn)
    width, height = image.size
    bar = (height - width * of[1] / of[0]) / 2
    outer, inner = math.floor(bar), math.ceil(bar)
    grey = image.convert("L")
    bars = [_brightness(grey, top, outer) for top in (0, height - outer)]
    edges = [_brightness(grey, top, 1) for top in (inner, height - inner - 1)]
    is_certain = outer >= 1 and max(bars) <= _BLACK and min(edges) >= max(bars) + _MIN_STEP
    return image.crop((0, inner, width, height - inner)) if is_certain else image


def _brightness(grey: Image.Image, top: int, rows: int) -> float:
    """The mean of some rows; 0 without any."""
    return ImageStat.Stat(grey.crop((0, top, grey.width, top + rows))).mean[0] if rows else 0.0
