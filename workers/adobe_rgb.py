"""Recognises pictures in Adobe RGB that say so in EXIF alone, as cameras write them."""

from typing import Any

from PIL import ExifTags, Image

from workers.icc import make_rgb_profile

ADOBE_RGB = make_rgb_profile(
    ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    lambda value: float(value ** (563 / 256)),
)
"""An ICC profile of Adobe RGB (1998)."""

_COLOUR_SPACE, _UNCALIBRATED = 0xA001, 0xFFFF
_INTEROPERABILITY_INDEX, _OPTIONAL_SPACE = 1, "R03"


def names_adobe_rgb(exif: Image.Exif) -> bool:
    """Whether a camera says by `exif` that a picture is in Adobe RGB.

    The colour space is "uncalibrated", and the interoperability index is R03, the option colour space of the
    Design rule for Camera File system (DCF 2.0): Exif 2.32, 4.6.7.
    """
    try:
        photo: dict[int, Any] = exif.get_ifd(ExifTags.IFD.Exif)
        if photo.get(_COLOUR_SPACE) != _UNCALIBRATED:
            return False
        index = exif.get_ifd(ExifTags.IFD.Interop).get(_INTEROPERABILITY_INDEX, "")
    except MemoryError:
        raise
    except Exception:  # broken metadata must not make the picture fail
        return False
    if isinstance(index, bytes):
        index = index.decode("ascii", "replace")
    return str(index).rstrip("\0 ") == _OPTIONAL_SPACE
