"""A GIF shows what browsers show: what no frame has drawn is transparent, whatever background it names."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests import samples
from tests.samples import BLUE, GREEN, GifFrame
from tests.workers.conftest import Making
from tests.workers.corners import Colour, distance, pixel
from workers.failures import JobError

Seen = Callable[..., Image.Image]

_CASES = Path(__file__).parent / "cases"
_CLEAR = (0, 0, 0, 0)


def _case(name: str) -> bytes:
    return (_CASES / name).read_bytes()


def _frames(making: Making, data: bytes) -> list[Image.Image]:
    _, files = making(data, "it=64@webp+anim:100")
    with Image.open(files["it"]) as image:
        found = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            found.append(image.convert("RGBA"))
        return found


class TestGif:
    """What no frame has drawn is transparent, whatever background the palette names."""

    def test_the_canvas_outside_a_small_first_frame_is_transparent(self, seen: Seen) -> None:
        """The frame of this file is 80 x 48 in the middle of 160 x 96 pixels."""
        image = seen(_case("gif-first-frame-smaller-than-canvas.gif"), "it=160@png")
        assert image.size == (160, 96)
        assert image.convert("RGBA").getchannel("A").getbbox() == (40, 24, 120, 72)
        assert distance(pixel(image, 80, 48)[:3], (0, 160, 0)) <= 4

    def test_a_cleared_frame_leaves_a_hole(self, making: Making) -> None:
        """Each frame after the first is cleared, here down to the canvas."""
        _, files = making(_case("gif-dispose-to-background-no-transparency.gif"), "it=100@webp+anim")
        with Image.open(files["it"]) as image:
            image.seek(2)
            alpha = image.convert("RGBA").getchannel("A")
        assert pixel(alpha, 10, 20) == (0,)
        assert pixel(alpha, 50, 80) == (255,)

    @pytest.mark.parametrize(
        ("disposals", "left", "right"),
        [
            ((1, 1, 1), GREEN, BLUE),
            ((2, 1, 1), _CLEAR, BLUE),
            ((1, 2, 1), GREEN, _CLEAR),
            ((1, 3, 1), GREEN, GREEN),
            ((3, 1, 1), _CLEAR, BLUE),
            ((1, 2, None), GREEN, _CLEAR),
            ((2, None, 1), _CLEAR, BLUE),
            ((2, 0, 1), _CLEAR, BLUE),
        ],
    )
    @pytest.mark.parametrize("transparent", [None, 3])
    def test_frames_are_disposed_of_as_they_say(
        self,
        making: Making,
        disposals: tuple[int | None, ...],
        left: Colour,
        right: Colour,
        transparent: int | None,
    ) -> None:
        """Three frames; after the second, its right half and the left half of the first are looked at."""
        base = GifFrame((0, 0, 64, 32), 1, disposals[0], transparent)
        second = GifFrame((32, 0, 32, 32), 2, disposals[1], transparent)
        third = GifFrame((0, 0, 8, 8), 0, disposals[2], transparent)
        shown = _frames(making, samples.raw_gif((64, 32), base, second, third))[2]
        for x, expected in ((20, left), (48, right)):
            found = pixel(shown, x, 20)
            assert found[3] == (0 if expected == _CLEAR else 255)
            assert expected == _CLEAR or distance(found[:3], expected) <= 16

    def test_a_frame_beyond_the_canvas_keeps_what_is_transparent(self, making: Making) -> None:
        """It is cut at the canvas, and the canvas that nothing has drawn stays empty."""
        data = samples.raw_gif((64, 32), GifFrame((0, 0, 8, 8), 1), GifFrame((32, 0, 64, 64), 2))
        shown = _frames(making, data)[1]
        assert shown.size == (64, 32)
        assert pixel(shown, 16, 20)[3] == 0
        assert distance(pixel(shown, 48, 20), (*BLUE, 255)) <= 16


def test_a_gif_without_a_canvas_has_the_size_of_its_frame(making: Making, seen: Seen) -> None:
    """As browsers show it; the bound on pixels holds for that size."""
    data = _case("gif-canvas-0x0.gif")
    assert seen(data, "it=80@png").size == (80, 48)
    with pytest.raises(JobError, match="too-many-pixels"):
        making(data, max_pixels=80 * 48 - 1)
