"""Test images, made in memory: every format that is taken, the odd kinds of each, and what must be refused.

Every function answers the bytes of a file. Pictures are deterministic: four coloured corners on a gradient,
so that a turned, mirrored or recoloured picture is told from the right one.
"""

from tests.samples.files import (
    animated_webp,
    apng,
    avif,
    bmp,
    encoded,
    gif,
    gif_transparent,
    heic,
    jpeg,
    png,
    tiff,
    webp,
)
from tests.samples.hostile import bomb_gif, bomb_png, pretenders, truncated
from tests.samples.metadata import SECRET, adobe_rgb_exif, exif
from tests.samples.picture import BLUE, CORNERS, GREEN, RED, YELLOW, picture, stored_as
from tests.samples.profiles import Chromaticity, cmyk_profile, rgb_profile
from tests.samples.raw import deep_png, packed_rows, raw_png
from tests.samples.raw_gif import GifFrame, raw_gif
from tests.samples.raw_tiff import TiffKind, deep_tiff, sampled_tiff, thumbnail_tiff

__all__ = (
    "BLUE",
    "CORNERS",
    "GREEN",
    "RED",
    "SECRET",
    "YELLOW",
    "Chromaticity",
    "GifFrame",
    "TiffKind",
    "adobe_rgb_exif",
    "animated_webp",
    "apng",
    "avif",
    "bmp",
    "bomb_gif",
    "bomb_png",
    "cmyk_profile",
    "deep_png",
    "deep_tiff",
    "encoded",
    "exif",
    "gif",
    "gif_transparent",
    "heic",
    "jpeg",
    "packed_rows",
    "picture",
    "png",
    "pretenders",
    "raw_gif",
    "raw_png",
    "rgb_profile",
    "sampled_tiff",
    "stored_as",
    "thumbnail_tiff",
    "tiff",
    "truncated",
    "webp",
)
