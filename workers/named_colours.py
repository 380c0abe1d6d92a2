"""Profiles of colours that a file names in another way than by a profile."""

from pathlib import Path

from PIL import Image

from workers.adobe_rgb import ADOBE_RGB, names_adobe_rgb
from workers.bmp import read_bmp_profile
from workers.chromaticities import make_png_profile
from workers.cicp import make_profile, read_box_codes, read_png_codes
from workers.formats import read_head
from workers.orientation import read_exif

_PNG_COLOURS = ("srgb", "gamma", "chromaticity")
"""Pillow's names of what a PNG may say of its colours without a profile."""


def find_profile(image: Image.Image, format_: str, path: Path) -> bytes | None:
    """A profile of the colours that the file at `path` names; None to use its own, or if it has none.

    In a PNG code points take precedence over its profile, and that over
    its chromaticities; in AVIF and HEIC a profile takes precedence. What EXIF says counts where nothing else
    is said.
    """
    codes = None
    if format_ == "png":
        codes = read_png_codes(read_head(path))
        if codes is None and image.mode in ("P", "RGB", "RGBA") and "chromaticity" in image.info:
            return make_png_profile(image.info)
    elif format_ == "bmp":
        return read_bmp_profile(path)
    elif format_ == "avif" and "icc_profile" not in image.info:
        codes = read_box_codes(read_head(path))
    elif format_ == "heic" and "icc_profile" not in image.info:
        stated = image.info.get("nclx_profile")
        codes = stated and (stated["color_primaries"], stated["transfer_characteristics"])
    if codes:
        return make_profile(codes)
    return ADOBE_RGB if _is_adobe_rgb(image, format_) else None


def _is_adobe_rgb(image: Image.Image, format_: str) -> bool:
    if "icc_profile" in image.info or not image.mode.startswith("RGB"):
        return False
    if format_ == "png" and any(key in image.info for key in _PNG_COLOURS):
        return False
    try:
        exif = image.getexif() if format_ == "tiff" else read_exif(image.info)
    except MemoryError:
        raise
    except Exception:  # broken metadata must not make the picture fail
        return False
    return names_adobe_rgb(exif)
