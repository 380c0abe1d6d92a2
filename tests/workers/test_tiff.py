"""Kinds of TIFF that Pillow shows wrongly or refuses show their picture."""

import struct
from collections.abc import Callable

import pytest
from PIL import Image

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import corners, distance, pixel, shows_the_picture
from workers.failures import JobError

Seen = Callable[..., Image.Image]

_LAYOUTS = pytest.mark.parametrize(
    "layout", [{}, {"tile": 32}, {"deflate": True}, {"tile": 32, "deflate": True}], ids=str
)


@pytest.mark.parametrize("order", ["<", ">"])
@_LAYOUTS
class TestSixteenBits:
    """Of both byte orders, in strips and tiles, compressed or not."""

    @pytest.mark.parametrize("big", [False, True])
    def test_separate_planes_become_one_picture(
        self, seen: Seen, order: str, layout: dict[str, int], big: bool
    ) -> None:
        """Each plane has its own strips or tiles."""
        assert shows_the_picture(seen(samples.planar_tiff(order=order, big=big, **layout)), 2)

    def test_a_plane_can_be_an_alpha_channel(self, seen: Seen, order: str, layout: dict[str, int]) -> None:
        """The lower half of this picture is transparent."""
        image = seen(samples.planar_tiff("RGBA", order=order, **layout))
        assert [pixel(image, 2, y)[3] for y in (2, 45)] == [255, 0]
        assert distance(pixel(image, 2, 2)[:3], samples.RED) <= 2

    def test_planes_can_be_inks(self, seen: Seen, order: str, layout: dict[str, int]) -> None:
        """CMYK without a profile is converted as it is with 8 bits."""
        assert shows_the_picture(seen(samples.planar_tiff("CMYK", order=order, **layout)), 4)

    def test_zero_is_white_where_the_file_says_so(
        self, seen: Seen, order: str, layout: dict[str, int]
    ) -> None:
        """The picture is no negative."""
        image = seen(samples.inverted_tiff(order=order, **layout))
        expected = samples.picture(64, 48, "L")
        assert all(distance(a, b) <= 2 for a, b in zip(corners(image), corners(expected), strict=True))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_big_tiff_is_read_in_both_byte_orders(seen: Seen, order: str) -> None:
    """Its offsets have 64 bits."""
    assert shows_the_picture(seen(samples.big_tiff(order)), 2)


@pytest.mark.parametrize(
    "data",
    [samples.planar_tiff(), samples.inverted_tiff(order=">"), samples.big_tiff(">")],
    ids=["planes", "grey", "big"],
)
def test_bounds_and_damage_are_noticed(making: Making, data: bytes) -> None:
    """Too many pixels, a file that is cut off, and one whose bytes were changed."""
    with pytest.raises(JobError, match="too-many-pixels"):
        making(data, max_pixels=64 * 48 - 1)
    # The directory is at the end, so only a strip is put beyond it.
    for at in range(len(data) - 260, len(data)):
        try:
            making(data[:at] + b"\xff" + data[at + 1 :], max_pixels=10**6)
        except JobError as error:
            assert error.reason in ("undecodable", "too-many-pixels", "too-much-memory")  # noqa: PT017


def test_strips_beyond_the_end_are_missing(making: Making) -> None:
    """Such a file is refused, and accepted where truncated files are."""
    data = bytearray(samples.planar_tiff())
    table = data.index(struct.pack("<2I", 16, 16 + 64 * 16 * 2))  # the offsets of the first two strips
    data[table : table + 4] = (len(data) - 8).to_bytes(4, "little")
    with pytest.raises(JobError, match="ends before its picture"):
        making(bytes(data))
    making(bytes(data), truncated=True)
