"""A BlurHash: a few characters from which a page can draw a blur before the picture has come."""

from blurhash import encode
from PIL import Image

from workers.encode import flattened
from workers.variants import fitted

_SIDE = 32
"""Pixels are enough for the few waves that a hash holds; the library is plain Python."""
_WAVES = 4, 3


def blurhash(image: Image.Image) -> str:
    """The BlurHash of an upright sRGB image, transparency on white."""
    small = flattened(image).resize(fitted(*image.size, _SIDE), Image.Resampling.BOX).convert("RGB")
    width, height = small.size
    pixels = list(small.getdata())
    rows = [pixels[y * width : (y + 1) * width] for y in range(height)]
    across, down = _WAVES if width >= height else _WAVES[::-1]
    return str(encode(rows, across, down))
