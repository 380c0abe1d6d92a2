"""The photo that a stampede uploads: generated, of a camera's size, with a thumbnail in its EXIF block."""

import random
import struct
from io import BytesIO

from PIL import Image, ImageDraw, ImageFilter

SIZE = (4032, 3024)
"""Twelve megapixels, the size of a telephone's photos."""
_PIXELS_PER_WORKER, _MAX_PIXELS = 4_000_000, 24_000_000
_THUMBNAIL = (160, 120)
"""Width and height of the thumbnail that cameras embed."""
_ELLIPSES = 900
_SEED = 12


def size_for(workers: int) -> tuple[int, int]:
    """Width and height of a photo that keeps so many workers busy: from twelve megapixels to twenty-four."""
    pixels = min(_MAX_PIXELS, max(SIZE[0] * SIZE[1], workers * _PIXELS_PER_WORKER))
    scale = (pixels / (SIZE[0] * SIZE[1])) ** 0.5
    return round(SIZE[0] * scale), round(SIZE[1] * scale)


def make_photo(size: tuple[int, int] = SIZE) -> bytes:
    """A JPEG that costs a decoder what a camera's does: surfaces with edges, grain, EXIF with a thumbnail."""
    picture = _scene(size)
    file = BytesIO()
    picture.save(file, "JPEG", quality=88, exif=make_exif(picture))
    return file.getvalue()


def _scene(size: tuple[int, int]) -> Image.Image:
    width, height = size
    chance = random.Random(_SEED)  # noqa: S311 - a picture, not a secret
    # Drawn at half the size, for edges as soft as a lens makes them; the grain has the full resolution.
    picture = Image.linear_gradient("L").resize((width // 2, height // 2)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for _ in range(_ELLIPSES):
        radius = height / 2 * min(0.25, 0.01 / (1 - chance.random()) ** 0.5)
        x, y = chance.uniform(0, width / 2), chance.uniform(0, height / 2)
        colour = tuple(chance.randint(25, 235) for _ in range(3))
        draw.ellipse((x - radius, y - radius * 0.7, x + radius, y + radius * 0.7), fill=colour)
    picture = picture.filter(ImageFilter.GaussianBlur(0.7)).resize(size, Image.Resampling.BILINEAR)
    grain = Image.effect_noise((width, height), 14).convert("RGB")
    return Image.blend(picture, grain, 0.25)


def _jpeg(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=75)
    return file.getvalue()


def make_exif(picture: Image.Image) -> bytes:
    """An EXIF block of two directories, as cameras write it: orientation, then thumbnail of `picture`."""
    thumbnail = _jpeg(picture.resize(_THUMBNAIL))
    first, second = 8, 8 + 2 + 12 + 4
    at = second + 2 + 3 * 12 + 4
    block = struct.pack("<2sHI", b"II", 42, first)
    block += struct.pack("<HHHII", 1, 0x0112, 3, 1, 1) + struct.pack("<I", second)
    block += struct.pack("<HHHII", 3, 259, 3, 1, 6)
    block += struct.pack("<HHII", 513, 4, 1, at)
    block += struct.pack("<HHII", 514, 4, 1, len(thumbnail)) + bytes(4)
    return b"Exif\0\0" + block + thumbnail
