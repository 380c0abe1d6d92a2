"""Animated variants have all frames; other variants of an animation show its first frame."""

from io import BytesIO

import pytest
from PIL import Image

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import shows_the_picture

_UPLOADS = {
    "gif": samples.gif(60, 40, frames=4),
    "apng": samples.apng(60, 40, frames=4),
    "webp": samples.animated_webp(60, 40, frames=4),
}


@pytest.mark.parametrize("name", sorted(_UPLOADS))
def test_every_frame_is_kept_where_asked_for(making: Making, name: str) -> None:
    """Each frame has the size of the variant, and the duration that it had."""
    done, files = making(_UPLOADS[name], "a=60@webp+anim", "b=30@webp+anim", "still=30@webp", "photo=30")
    assert [(made.name, made.width, made.height) for made in done.made] == [
        ("a", 60, 40),
        ("b", 30, 20),
        ("still", 30, 20),
        ("photo", 30, 20),
    ]
    for key, frames in (("a", 4), ("b", 4), ("still", 1)):
        with Image.open(files[key]) as image:
            assert getattr(image, "n_frames", 1) == frames
            assert shows_the_picture(image, 40)
            image.seek(frames - 1)
            image.load()
            assert frames == 1 or image.info["duration"] == 80


@pytest.mark.parametrize("name", sorted(_UPLOADS))
def test_a_still_beside_an_animation_is_the_first_frame(making: Making, name: str) -> None:
    """Decoding further frames does not change the picture that was decoded from the first."""
    _, files = making(_UPLOADS[name], "still=60@png", "moving=60@webp+anim")
    with Image.open(files["still"]) as image:
        assert shows_the_picture(image)


@pytest.mark.parametrize("format_", ["MPO", "TIFF"])
def test_several_pictures_are_no_animation(making: Making, format_: str) -> None:
    """A telephone's JPEG with a second picture, and a document with pages, show their first picture."""
    file = BytesIO()
    pages = [samples.picture(60, 40), samples.picture(60, 40).rotate(180)]
    pages[0].save(file, format_, save_all=True, append_images=pages[1:])
    done, files = making(file.getvalue(), "it=30@webp+anim")
    assert done.source.format == {"MPO": "jpeg", "TIFF": "tiff"}[format_]
    with Image.open(files["it"]) as image:
        assert getattr(image, "n_frames", 1) == 1
        assert shows_the_picture(image, 24)


def test_an_animation_plays_as_often_as_it_did(making: Making) -> None:
    """A GIF counts repetitions after the first time it plays; WebP counts how often it plays."""
    _, files = making(samples.gif(frames=2), "it=20@webp+anim")
    with Image.open(files["it"]) as image:
        assert image.info["loop"] == 3


def test_a_still_picture_stays_one(making: Making) -> None:
    """An animated variant of a photo is a still picture."""
    _, files = making(samples.jpeg(), "it=20@webp+anim")
    with Image.open(files["it"]) as image:
        assert getattr(image, "n_frames", 1) == 1
        assert shows_the_picture(image, 24)


@pytest.mark.parametrize("kind", ["webp+anim", "webp+anim+p3"])
def test_frames_that_are_all_alike_make_a_still_picture(making: Making, kind: str) -> None:
    """Also where they are transparent in places, and differ there alone: the file has no animation then."""
    frames = [Image.new("RGBA", (60, 40), (200, 30, 30, 255)) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste((60 * number, 0, 0, 0), (0, 0, 20, 20))
    file = BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=80)
    _, files = making(file.getvalue(), f"it=60@{kind}")
    with Image.open(files["it"]) as image:
        image.load()
        assert image.convert("RGBA").getpixel((5, 5))[3] == 0
        assert image.convert("RGBA").getpixel((40, 30))[3] == 255
