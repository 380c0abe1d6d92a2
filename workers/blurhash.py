"""BlurHash (blurha.sh): a few characters from which a page can draw a blur before the picture has loaded."""

from blurhash import encode
from PIL import Image

from workers.encode import flatten
from workers.variants import fit_size

_SIDE = 32
"""The picture is reduced to this first: the library is pure Python, and a hash holds few details."""
_COMPONENTS = 4, 3
"""Along the longer and the shorter side."""


def blurhash(image: Image.Image) -> str:
    """The BlurHash of an upright sRGB image; transparent parts are white."""
    small = flatten(image).resize(fit_size(*image.size, _SIDE), Image.Resampling.BOX).convert("RGB")
    width, height = small.size
    pixels = list(small.getdata())
    rows = [pixels[y * width : (y + 1) * width] for y in range(height)]
    across, down = _COMPONENTS if width >= height else _COMPONENTS[::-1]
    return str(encode(rows, across, down))
