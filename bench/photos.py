"""Photos that the benches make: the same on every machine, and for codecs like those of a camera.

A natural scene consists of surfaces of all sizes that occlude one another, each with its own colour and
texture. So discs whose sizes have a heavy tail are drawn over one another (the "dead leaves" model, whose
statistics are those of photographs), shaded, softened as by a lens, and given the noise of a sensor. As a
JPEG it has a thumbnail in its EXIF.
"""

import functools
import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageDraw, ImageFilter

from app.stampede.photos import make_exif

SIZES = {2: (1632, 1224), 12: (4032, 3024), 48: (8064, 6048)}
"""Width and height by megapixels, as phones and cameras have them."""

_LEAVES = 6000
_SMALLEST, _LARGEST = 0.006, 0.25
"""Radii of the discs, in heights of the picture."""
_GRAIN = 3.0
"""Standard deviation of the sensor's noise, of 255."""
_BAND = 256
"""Rows lit at once, so that a large picture needs little memory beside its own."""
_SEED = 12


@functools.cache
def scene(megapixels: int) -> Image.Image:
    """The picture at one of `SIZES`, undistorted by any codec."""
    width, height = SIZES[megapixels]
    chance = random.Random(_SEED)  # noqa: S311 - a picture, not a secret
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(_LEAVES):
        # Areas with a density of 1/radius^3 look the same at every distance.
        radius = height * min(_LARGEST, _SMALLEST / (1 - chance.random()) ** 0.5)
        x, y = chance.uniform(0, width), chance.uniform(0, height)
        light = chance.uniform(25, 235)
        colour = tuple(round(min(255, max(0, light + chance.gauss(0, 20)))) for _ in range(3))
        flat = radius * chance.uniform(0.4, 1)
        draw.ellipse((x - radius, y - flat, x + radius, y + flat), fill=colour)
    image = image.filter(ImageFilter.GaussianBlur(0.9))
    return _grained(image)


def _grained(image: Image.Image) -> Image.Image:
    """Shade the picture with clouds of all sizes, and add the noise of a sensor."""
    width, height = image.size
    source = np.random.default_rng(_SEED)
    pixels = np.array(image)
    light = source.standard_normal((height, width), np.float32) * _GRAIN
    for step in (512, 64, 8, 3):
        cells = source.standard_normal((height // step + 2, width // step + 2), np.float32)
        clouds = Image.fromarray(cells * (2.5 + step**0.5 / 4)).resize(image.size, Image.Resampling.BILINEAR)
        light += np.asarray(clouds)
    for top in range(0, height, _BAND):
        rows = slice(top, top + _BAND)
        lit = pixels[rows] + light[rows, :, None]
        pixels[rows] = lit.clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _jpeg(image: Image.Image, file: BytesIO) -> None:
    image.save(file, "JPEG", quality=92, exif=make_exif(image))


def _png(image: Image.Image, file: BytesIO) -> None:
    image.save(file, "PNG", compress_level=3)


def _webp(image: Image.Image, file: BytesIO) -> None:
    image.save(file, "WEBP", quality=82, method=2)


def _heic(image: Image.Image, file: BytesIO) -> None:
    pillow_heif.from_pillow(image).save(file, quality=60, enc_params={"preset": "ultrafast"})


_WRITERS: dict[str, Callable[[Image.Image, BytesIO], None]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "heic": _heic,
}


def photo(format_: str, megapixels: int) -> bytes:
    """The picture as a file of `format_` (jpeg, png, webp or heic)."""
    file = BytesIO()
    _WRITERS[format_](scene(megapixels), file)
    return file.getvalue()


def photo_file(folder: Path, format_: str, megapixels: int) -> Path:
    """Write the picture as a file of `format_` into `folder`. Returns its path."""
    path = folder / f"photo-{megapixels}mp.{format_}"
    path.write_bytes(photo(format_, megapixels))
    return path
