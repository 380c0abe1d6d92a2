"""Pictures whose subject is known and near one end: what a cut should keep."""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from workers.shapes import Rect

SUBJECTS = ("face", "object")
_SIZES = ((480, 270), (400, 300), (300, 400), (480, 200))
_SKIN = ((240, 200, 170), (224, 172, 138), (198, 134, 96), (141, 85, 58), (92, 56, 40))
_BACKGROUNDS = ("plain", "gradient", "blurred", "grain", "stripes")


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, and where its subject is."""

    image: Image.Image
    subject: Rect


def make_scene(chance: random.Random, subject: str) -> Scene:
    """A picture with one of `SUBJECTS` near an end of its longer side."""
    size = chance.choice(_SIZES)
    image = _background(chance, size)
    side = int(min(size) * chance.uniform(0.35, 0.6))
    margin = side // 10
    place = [chance.randint(0, length - side) for length in size]
    axis = 0 if size[0] > size[1] else 1
    place[axis] = chance.choice((margin, size[axis] - side - margin))
    drawn = _face(chance, side) if subject == "face" else _object(chance, side)
    image.paste(drawn, (place[0], place[1]), drawn)
    return Scene(image, Rect(place[0], place[1], side, side))


def _background(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    kind = chance.choice(_BACKGROUNDS)
    colour = tuple(chance.randint(30, 220) for _ in range(3))
    other = _varied(chance, colour, 50)
    image = Image.new("RGB", size, colour)
    if kind == "gradient":
        mask = Image.linear_gradient("L").rotate(chance.choice((0, 90, 180, 270))).resize(size)
        return Image.composite(image, Image.new("RGB", size, other), mask)
    draw = ImageDraw.Draw(image)
    if kind == "blurred":
        for _ in range(14):
            x, y, radius = chance.randint(0, size[0]), chance.randint(0, size[1]), chance.randint(20, 70)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_varied(chance, colour, 70))
        return image.filter(ImageFilter.GaussianBlur(18))
    if kind == "stripes":
        for x in range(0, size[0], 24):
            draw.rectangle((x, 0, x + 10, size[1]), fill=other)
    if kind == "grain":
        noise = Image.frombytes("L", size, chance.randbytes(size[0] * size[1]))
        return Image.blend(image, noise.convert("RGB"), 0.15)
    return image


def _varied(chance: random.Random, colour: tuple[int, ...], most: int) -> tuple[int, ...]:
    return tuple(max(0, min(255, value + chance.randint(-most, most))) for value in colour)


def _face(chance: random.Random, side: int) -> Image.Image:
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    draw.ellipse(_scaled(side, 0.1, 0, 0.9, 0.6), fill=(50, 35, 25, 255))
    draw.ellipse(_scaled(side, 0.15, 0.08, 0.85, 1), fill=(*chance.choice(_SKIN), 255))
    for x in (0.32, 0.58):
        draw.ellipse(_scaled(side, x, 0.42, x + 0.1, 0.5), fill=(30, 25, 25, 255))
    draw.rectangle(_scaled(side, 0.38, 0.76, 0.62, 0.8), fill=(150, 60, 60, 255))
    return image


def _object(chance: random.Random, side: int) -> Image.Image:
    """Rings of chance colours."""
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    for index in range(6):
        margin = index * side // 14
        colour = tuple(chance.randint(0, 255) for _ in range(3))
        draw.ellipse((margin, margin, side - margin, side - margin), fill=(*colour, 255))
    return image


def _scaled(side: int, *edges: float) -> tuple[float, ...]:
    return tuple(side * edge for edge in edges)
