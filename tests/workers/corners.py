"""Compares pictures by the colours of their corners, with a tolerance for lossy formats."""

from PIL import Image

from tests.samples import CORNERS

Colour = tuple[int, ...]


def corners(image: Image.Image) -> list[Colour]:
    """The colours just inside the four corners: top left, top right, bottom left, bottom right."""
    upright = image.convert("RGB")
    right, bottom = upright.width - 3, upright.height - 3
    return [pixel(upright, x, y) for x, y in ((2, 2), (right, 2), (2, bottom), (right, bottom))]


def pixel(image: Image.Image, x: int, y: int) -> Colour:
    """The colour of one pixel."""
    value = image.getpixel((x, y))
    assert value is not None
    return value if isinstance(value, tuple) else (int(value),)


def distance(one: Colour, other: Colour) -> int:
    """The largest difference in any channel."""
    assert len(one) == len(other)
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def shows_the_picture(image: Image.Image, tolerance: int = 12) -> bool:
    """Whether the four corners are those of `tests.samples.picture`, each in its place."""
    return all(distance(a, b) <= tolerance for a, b in zip(corners(image), CORNERS, strict=True))
