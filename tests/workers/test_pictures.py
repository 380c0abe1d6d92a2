"""From file to file a picture keeps its colours and orientation, and loses its metadata."""

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, ImageChops, ImageStat

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import distance, pixel, shows_the_picture

Seen = Callable[..., Image.Image]


def _file(image: Image.Image, format_: str = "JPEG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Root of the mean square difference, in the channel where it is largest."""
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).rms)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [97, 86, 71])
def test_odd_sizes_are_turned_upright(seen: Seen, orientation: int, side: int) -> None:
    """A JPEG and a PNG show the same pixels, at every orientation of odd and even sizes."""
    data = samples.encoded(samples.stored_as(orientation, samples.picture(97, 65)), "jpeg", orientation)
    made, whole = seen(data, f"it={side}:100"), seen(data, f"it={side}@png")
    assert made.size == whole.size
    assert shows_the_picture(made, 24)
    with Image.open(BytesIO(_file(whole, quality=100))) as halved:
        # Colours that are one of their pixels astray differ by more than 20.
        assert _difference(made, halved) < 10


@pytest.mark.parametrize("format_", ["jpeg", "webp"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_a_wide_gamut_is_brought_to_srgb_from_every_format(seen: Seen, source: str, format_: str) -> None:
    """The profile is used in every format that can have one."""
    wide = samples.rgb_profile(2.2, (0.68, 0.32), (0.28, 0.65), (0.155, 0.07))
    options: dict[str, object] = {} if source == "PNG" else {"quality": 100}
    data = _file(Image.new("RGB", (64, 64), (100, 200, 80)), source, icc_profile=wide, **options)
    shown = pixel(seen(data, f"it=32@{format_}:100"), 8, 8)
    assert shown[0] < 87
    assert shown[1] >= 197


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"keep_rgb": True}])
def test_every_kind_of_jpeg_becomes_a_jpeg(seen: Seen, mode: str, options: dict[str, object]) -> None:
    """Grey, CMYK, full colour resolution, and RGB that was not converted to YCbCr."""
    if mode != "RGB" and "keep_rgb" in options:
        pytest.skip("a JPEG of RGB alone")
    colour = {"L": 90, "CMYK": (200, 30, 60, 20), "RGB": (200, 30, 60)}[mode]
    source = Image.new(mode, (90, 70), colour)
    shown = pixel(seen(_file(source, quality=95, **options), "it=45:95").convert("RGB"), 20, 20)
    assert distance(shown, pixel(source.convert("RGB"), 20, 20)) <= 4


def test_a_jpeg_of_rgb_by_its_adobe_marker_is_decoded(seen: Seen) -> None:
    """Its component ids say YCbCr, its Adobe marker says RGB; the marker counts."""
    plain = _file(Image.new("RGB", (32, 32), (90, 90, 90)), quality=95)
    start = plain.index(b"\xff\xe0")
    length = 2 + int.from_bytes(plain[start + 2 : start + 4])
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    data = plain[:start] + adobe + plain[start + length :]
    # Grey in YCbCr is (90, 128, 128): as RGB that is what it says.
    assert distance(pixel(seen(data, "it=16:95"), 8, 8), (90, 128, 128)) <= 4


@pytest.mark.parametrize("format_", ["jpeg", "webp"])
def test_a_comment_does_not_pass(making: Making, format_: str) -> None:
    """A comment is dropped, whether the picture is scaled or not."""
    file = BytesIO()
    samples.picture(64, 48).save(file, "JPEG", comment=samples.SECRET)
    for side in (64, 32):
        _, files = making(file.getvalue(), f"it={side}@{format_}")
        assert samples.SECRET not in files["it"].read_bytes()


def test_what_is_missing_of_a_truncated_photo_is_not_green(seen: Seen) -> None:
    """A JPEG holds YCbCr, in which zeros, the black of RGB, are dark green."""
    data = samples.jpeg(640, 480)
    image = seen(data[: len(data) // 2], "it=64", truncated=True)
    red, green, blue = pixel(image, 32, 45)
    assert green <= max(red, blue) + 12


@pytest.mark.parametrize("made", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("format_", ["TIFF", "GIF", "PNG", "WEBP", "AVIF", "HEIF"])
def test_of_several_pictures_in_a_file_the_first_is_shown(seen: Seen, format_: str, made: str) -> None:
    """Also when it is not scaled, and the encoder could see the other pictures."""
    pages = [samples.picture(64, 48), samples.picture(64, 48).rotate(180)]
    image = seen(_file(pages[0], format_, save_all=True, append_images=pages[1:]), f"it=64@{made}")
    assert shows_the_picture(image, 30)
    assert getattr(image, "n_frames", 1) == 1


def test_an_icon_keeps_its_colours(seen: Seen) -> None:
    """Adjacent red and blue pixels stay apart, which they would not at half the colour resolution."""
    icon = Image.new("RGB", (16, 16), (220, 30, 30))
    icon.paste((40, 60, 210), (0, 0, 7, 16))
    image = seen(_file(icon, "PNG"), "it=16@jpeg")
    assert distance(pixel(image, 6, 8), (40, 60, 210)) <= 30
    assert distance(pixel(image, 7, 8), (220, 30, 30)) <= 30
