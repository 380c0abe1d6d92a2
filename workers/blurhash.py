"""BlurHash (blurha.sh): a few characters from which a page can draw a blur before the picture has loaded."""

from blurhash import encode
from PIL import Image

from workers.background import Colour
from workers.encode import WHITE, flatten
from workers.shapes import fit_inside

_SIDE = 32
"""The picture is reduced to this first: the library is pure Python, and a hash holds few details."""
_COMPONENTS = 4, 3
"""Along the longer and the shorter side."""


def blurhash(image: Image.Image, background: Colour = WHITE) -> str:
    """The BlurHash of an upright sRGB image; `background` shows through its transparent parts."""
    small = (
        flatten(image, background)
        .resize(fit_inside(image.size, (_SIDE, _SIDE)), Image.Resampling.BOX)
        .convert("RGB")
    )
    width, height = small.size
    pixels = list(small.getdata())
    rows = [pixels[y * width : (y + 1) * width] for y in range(height)]
    across, down = _COMPONENTS if width >= height else _COMPONENTS[::-1]
    return str(encode(rows, across, down))
