"""Every kind of BMP shows its picture."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests import samples
from tests.samples.raw_bmp import ALPHA_BMPS, GOOD_BMPS, OTHER_BMPS, Bmp, bmp_picture, raw_bmp
from tests.workers.conftest import Making
from tests.workers.corners import corners, distance, pixel
from workers.failures import JobError

Seen = Callable[..., Image.Image]

_CASES = Path(__file__).parent / "cases"
_KINDS = GOOD_BMPS | OTHER_BMPS


def _steps(bmp: Bmp) -> list[int]:
    """By how much, of 255, rounding to the bits of each channel may change it."""
    return [-(-255 // (2 * (mask // (mask & -mask)))) for mask in bmp.masks] or [0, 0, 0]


def _is_alike(image: Image.Image, expected: Image.Image, steps: list[int]) -> bool:
    bands = ImageChops.difference(image, expected).split()
    return all(band.getextrema()[1] <= step for band, step in zip(bands, steps, strict=True))


@pytest.mark.parametrize("name", _KINDS)
def test_it_shows_its_picture(seen: Seen, name: str) -> None:
    """Each pixel is the one that was stored, to within the bits that it has."""
    bmp = _KINDS[name]
    assert _is_alike(seen(raw_bmp(bmp)).convert("RGB"), bmp_picture(bmp).convert("RGB"), _steps(bmp))


@pytest.mark.parametrize("name", ALPHA_BMPS)
def test_it_keeps_its_alpha_channel(seen: Seen, name: str) -> None:
    """The lower half of the picture is transparent."""
    bmp = ALPHA_BMPS[name]
    image = seen(raw_bmp(bmp))
    assert image.mode == "RGBA"
    upper = (0, 0, image.width, 20)  # of transparent pixels the colours do not count
    assert _is_alike(image.crop(upper), bmp_picture(bmp).crop(upper), _steps(bmp))
    assert [pixel(image, 2, y)[3] for y in (2, 45)] == [255, 0]


def test_an_alpha_channel_with_nothing_in_it_is_none(seen: Seen) -> None:
    """Programs state the mask for it and leave it zero; browsers show the picture."""
    bmp = ALPHA_BMPS["rgba32"]
    data = bytearray(raw_bmp(bmp))
    data[14 + 124 + 3 :: 4] = bytes(len(data[14 + 124 + 3 :: 4]))
    image = seen(bytes(data))
    assert image.mode == "RGB"
    assert distance(pixel(image, 2, 2), samples.RED) <= 1


def test_the_case_of_others_is_shown(seen: Seen) -> None:
    """A file of the suite itself, whose bit fields are at unusual places; the values are Chromium's."""
    image = seen((_CASES / "bmpsuite-g-rgb32bf.bmp").read_bytes(), "it=127@png")
    assert image.size == (127, 64)
    shown = [pixel(image, x, y) for x, y in ((2, 2), (60, 2), (2, 45), (60, 45))]
    expected = [(247, 16, 16), (230, 247, 230), (73, 16, 16), (230, 73, 230)]
    assert all(distance(one, other) <= 1 for one, other in zip(shown, expected, strict=True))


def test_its_profile_is_used(seen: Seen) -> None:
    """That in a header of version 5; the values are Chromium's."""
    wide = samples.rgb_profile(2.2, (0.28, 0.65), (0.68, 0.32), (0.155, 0.07))  # red and green exchanged
    image = seen(raw_bmp(Bmp(24, header=124, profile=wide)))
    expected = [(0, 224, 0), (199, 0, 24), (58, 40, 216), (207, 231, 0)]
    assert all(distance(one, other) <= 3 for one, other in zip(corners(image), expected, strict=True))


@pytest.mark.parametrize("name", ["rgb32bf", "pal2", "rgb24rle24", "rgba16-1924"])
def test_bounds_and_damage_are_noticed(making: Making, name: str) -> None:
    """Too many pixels, a file that is cut off, and headers any byte of which was changed."""
    data = raw_bmp((_KINDS | ALPHA_BMPS)[name])
    with pytest.raises(JobError, match="too-many-pixels"):
        making(data, max_pixels=64 * 48 - 1)
    with pytest.raises(JobError, match="ends before its picture"):
        making(data[:-40])
    making(data[:-40], truncated=True)
    for at in range(14, 14 + 70, 3):
        try:
            making(data[:at] + b"\xff" + data[at + 1 :], max_pixels=10**5)
        except JobError as error:
            assert error.reason in ("undecodable", "too-many-pixels", "too-much-memory")  # noqa: PT017
