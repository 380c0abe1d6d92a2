"""Still WebP pictures are decoded without the canvases of an animation."""

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, ImageChops, ImageStat

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import distance, pixel, shows_the_picture
from workers.failures import JobError

Seen = Callable[..., Image.Image]


def _flat_webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour, (40, 80, 120): each of its pixels takes no bits at all."""
    file = BytesIO()
    Image.new("RGB", (16, 16), (40, 80, 120)).save(file, "WEBP", lossless=True)
    data = bytearray(file.getvalue())
    at = data.index(b"VP8L") + 9
    packed = int.from_bytes(data[at : at + 4], "little") & ~0xFFFFFFF
    data[at : at + 4] = (packed | (height - 1) << 14 | (width - 1)).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_picture_is_that_of_other_decoders(seen: Seen, mode: str, lossless: bool) -> None:
    """Pixel for pixel, with its alpha channel."""
    data = samples.webp(64, 48, mode=mode, lossless=lossless, exact=True)
    with Image.open(BytesIO(data)) as expected:
        assert seen(data).tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [(640, 480), (641, 479), (479, 641), (1001, 201)])
@pytest.mark.parametrize("variant", ["it=160", "it=600x450", "it=100x60/cover-top", "it=9"])
def test_a_picture_that_is_scaled_has_the_colours_of_other_decoders(
    seen: Seen, size: tuple[int, int], variant: str
) -> None:
    """It is scaled where it was decoded, and once, whatever part of it is shown."""
    file = BytesIO()
    stored = samples.picture(*size)
    stored.save(file, "WEBP", quality=90)
    with Image.open(BytesIO(file.getvalue())) as decoded:
        lossless = BytesIO()
        decoded.save(lossless, "PNG")
    made, expected = (seen(data.getvalue(), f"{variant}@png") for data in (file, lossless))
    assert made.size == expected.size
    difference = ImageStat.Stat(ImageChops.difference(made, expected))
    assert max(difference.mean) < 0.5
    assert max(most for _, most in difference.extrema) < 24


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_picture_that_is_scaled_is_upright_and_has_the_profile_s_colours(
    seen: Seen, orientation: int
) -> None:
    """Also where width and height are exchanged in the file."""
    wide = samples.rgb_profile(2.2, (0.28, 0.65), (0.68, 0.32), (0.155, 0.07))  # red and green exchanged
    file = BytesIO()
    stored = samples.stored_as(orientation, samples.picture(640, 480))
    stored.save(file, "WEBP", quality=95, icc_profile=wide, exif=samples.exif(orientation))
    image = seen(file.getvalue(), "it=64@png")
    assert image.size == (64, 48)
    assert pixel(image, 2, 2)[1] > 150 > 100 > pixel(image, 2, 2)[0]


def test_profile_and_orientation_are_found(seen: Seen) -> None:
    """Whatever chunks stand between them."""
    wide = samples.rgb_profile(2.2, (0.28, 0.65), (0.68, 0.32), (0.155, 0.07))  # red and green exchanged
    stored = samples.stored_as(6, samples.picture(64, 48))
    file = BytesIO()
    stored.save(file, "WEBP", quality=95, icc_profile=wide, exif=samples.exif(6), xmp=b"<x/>")
    image = seen(file.getvalue())
    assert image.size == (64, 48)
    assert pixel(image, 2, 2)[1] > 150 > 100 > pixel(image, 2, 2)[0]


def test_a_file_that_is_cut_off_is_refused(making: Making) -> None:
    """Wherever it is cut."""
    data = samples.webp(64, 48, mode="RGBA", exif=samples.exif(6))
    for length in range(40, len(data) - 20, 41):
        with pytest.raises(JobError, match="undecodable"):
            making(data[:length])


def test_it_needs_eight_bytes_a_pixel(making: Making, seen: Seen) -> None:
    """Four that are handed to the decoder, and four inside it at most: 100 megapixels fit into 1 GiB."""
    data = _flat_webp(1600, 1200)
    needed = 8 * 1600 * 1200
    assert distance(pixel(seen(data, memory_bytes=needed), 8, 8), (40, 80, 120)) <= 1
    with pytest.raises(JobError, match="too-much-memory"):
        making(data, memory_bytes=needed - 1)
    with pytest.raises(JobError, match="too-many-pixels"):
        making(data, max_pixels=1600 * 1200 - 1)


def test_an_animation_is_still_one(seen: Seen) -> None:
    """Its first frame, or all of them."""
    data = samples.animated_webp(64, 48)
    assert shows_the_picture(seen(data), 30)
    assert getattr(seen(data, "it=64@webp+anim"), "n_frames", 1) > 1
