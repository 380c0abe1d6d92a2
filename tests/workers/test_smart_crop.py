"""`cover-smart` keeps what a picture is of, wherever that is."""

import random

import pytest
from PIL import Image

from tests import samples
from tests.samples.scenes import SUBJECTS, make_scene
from tests.workers.conftest import Making
from workers.shapes import Rect, Size, cut_size, place
from workers.small_picture import make_small_picture
from workers.smart_crop import find_richest
from workers.variants import Fit, Variant

SQUARE = Variant("square", 90, 90, Fit.SMART)


def kept(cut: Rect, subject: Rect) -> float:
    """The share of the subject that is in the cut."""
    across = min(cut.left + cut.width, subject.left + subject.width) - max(cut.left, subject.left)
    down = min(cut.top + cut.height, subject.top + subject.height) - max(cut.top, subject.top)
    return max(0, across) * max(0, down) / (subject.width * subject.height)


def smart_cut(image: Image.Image) -> Rect:
    """The square that is kept of a picture."""
    return find_richest(make_small_picture(image, {}, 1), image.size, cut_size(SQUARE, image.size))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_near_an_edge_is_kept(subject: str) -> None:
    """Most of a face of any colour, or an object, on any background; the middle would keep less than half."""
    smart, middle = [], []
    for index in range(40):
        scene = make_scene(random.Random(f"{subject}{index}"), subject)  # noqa: S311
        size = scene.image.size
        smart.append(kept(smart_cut(scene.image), scene.subject))
        middle.append(kept(place(Fit.COVER, size, cut_size(SQUARE, size)), scene.subject))
    assert sum(smart) / 40 > 0.9
    assert sum(middle) / 40 < 0.5
    assert sum(a >= b for a, b in zip(smart, middle, strict=True)) >= 38


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (301, 200), (200, 301), (90, 90)])
def test_a_picture_without_a_subject_is_cut_in_the_middle(mode: str, size: Size) -> None:
    """Where everything is alike nothing is worth more, in every mode and shape."""
    part = cut_size(SQUARE, size)
    assert smart_cut(Image.new(mode, size)) == place(Fit.COVER, size, part)


def test_an_object_on_nothing_is_found() -> None:
    """Transparency is background, whatever colours it hides."""
    image = Image.new("RGBA", (300, 100), (255, 0, 0, 0))
    image.paste((40, 40, 40, 255), (230, 30, 270, 70))
    assert kept(smart_cut(image), Rect(230, 30, 40, 40)) == 1


def test_the_variant_shows_that_part(making: Making) -> None:
    """Beside a ladder and alone, in a photo that lies on its side."""
    upright = Image.new("RGB", (160, 480), (90, 120, 150))
    upright.paste((220, 40, 30), (60, 400, 100, 440))
    data = samples.encoded(samples.stored_as(6, upright), "jpeg", 6)
    for ladder in ((), ("large=400", "small=100")):
        _, files = making(data, "a=80x80/cover-smart@png", *ladder)
        with Image.open(files["a"]) as made:
            red = [x + 80 * y for y in range(80) for x in range(80) if made.getpixel((x, y))[0] > 180]
            assert len(red) >= 0.9 * 20 * 20


def test_the_same_picture_is_cut_in_the_same_place() -> None:
    """There is no chance in it."""
    scene = make_scene(random.Random(3), "face")  # noqa: S311
    assert len({smart_cut(scene.image) for _ in range(5)}) == 1
