"""Scaling with SIMD has the same result as Pillow's."""

import platform
import resource
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageFilter

from tests import samples
from workers import scaling
from workers.process import address_space_bytes
from workers.scaling import resize
from workers.shapes import fit_inside


def _textured(width: int, height: int, mode: str) -> Image.Image:
    noise = Image.effect_noise((width, height), 60).filter(ImageFilter.GaussianBlur(1))
    texture = ImageChops.add(samples.picture(width, height), noise.convert("RGB"), 2)
    if mode in ("LA", "RGBA"):
        texture.putalpha(Image.linear_gradient("L").resize((width, height)))
    return texture.convert(mode)


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (61, 33), (5, 4), (3, 2), (1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("whole", [(200, 150), (199, 149), (64, 49), (9, 9)])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "LAB"])
def test_a_picture_is_scaled_as_pillow_does(mode: str, whole: tuple[int, int], size: tuple[int, int]) -> None:
    """In every mode pixels differ by no more than rounding in another order can cause."""
    size = (min(size[0], whole[0]), min(size[1], whole[1]))
    picture = _textured(*whole, mode)
    made, wanted = resize(picture, size), picture.resize(size, Image.Resampling.LANCZOS)
    assert (made.mode, made.size) == (mode, size)
    if mode == "RGBA":
        # Colours that can hardly be seen are not compared.
        black = Image.new("RGBA", size, (0, 0, 0, 255))
        made, wanted = Image.alpha_composite(black, made), Image.alpha_composite(black, wanted)
    for low, high in zip(*[iter(_flat(ImageChops.difference(made, wanted).getextrema()))] * 2, strict=True):
        assert low <= high <= 8


@pytest.mark.parametrize("box", [(20, 10, 120, 85), (0.5, 0.25, 100.125, 75.5), (99.9, 74.9, 200, 150)])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "CMYK"])
def test_a_part_is_cut_and_scaled_as_pillow_does(mode: str, box: tuple[float, float, float, float]) -> None:
    """Its edges may lie within pixels."""
    picture = _textured(200, 150, mode)
    made, wanted = resize(picture, (40, 30), box), picture.resize((40, 30), Image.Resampling.LANCZOS, box)
    assert (made.mode, made.size) == (mode, (40, 30))
    assert max(_flat(ImageChops.difference(made, wanted).getextrema())) <= 8


def test_a_part_of_the_size_is_cut_and_not_scaled() -> None:
    """Its pixels are those of the picture."""
    picture = _textured(90, 70, "RGB")
    assert (
        resize(picture, (30, 20), (10.0, 5.0, 40.0, 25.0)).tobytes()
        == picture.crop((10, 5, 40, 25)).tobytes()
    )


def test_a_part_of_a_line_of_millions_of_pixels_is_the_right_one() -> None:
    """Blocks are averaged within the part alone, and begin where that begins."""
    line = Image.new("L", (3_000_000, 2))
    line.paste(255, (1_000_001, 0, 2_000_001, 2))
    assert resize(line, (100, 1), (1_000_001, 0, 2_000_001, 2)).getextrema() == (255, 255)
    half = resize(line, (1000, 1), (500_001, 0, 1_500_001, 2))
    assert [half.getpixel((x, 0)) for x in (0, 495, 505, 999)] == [0, 0, 255, 255]


def _flat(extrema: tuple[int, int] | tuple[tuple[int, int], ...]) -> list[int]:
    return [value for each in extrema for value in (each if isinstance(each, tuple) else (each,))]


def test_a_picture_of_the_size_is_left_alone() -> None:
    """A picture that has the size is not copied."""
    picture = _textured(40, 30, "RGB")
    assert resize(picture, (40, 30)) is picture


def test_hidden_colours_do_not_bleed() -> None:
    """Transparent pixels do not change the colour of their neighbours."""
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 31, 64))
    for red, _, _, alpha in resize(picture, (16, 16)).getdata():
        assert red <= 8 or alpha <= 2


def test_scaling_starts_no_thread() -> None:
    """A task has one processor, and its address space is limited."""
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))
    resize(_textured(900, 700, "RGB"), (300, 233))
    assert len(list(tasks.iterdir())) == before


def test_simd_is_there_where_it_is_promised() -> None:
    """Fails if a newer Pillow, or a missing wheel, makes scaling slow."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("not promised for this kind of machine")
    assert scaling.HAS_SIMD


def test_without_simd_pillow_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SIMD the pictures are the same."""
    monkeypatch.setattr(scaling, "_RESIZER", None)
    picture = _textured(90, 70, "RGB")
    wanted = picture.resize((30, 23), Image.Resampling.LANCZOS)
    assert resize(picture, (30, 23)).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("size", [(1, 3_000_000), (3_000_000, 1), (3, 900_000)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_a_line_of_millions_of_pixels_is_scaled_in_little_memory(mode: str, size: tuple[int, int]) -> None:
    """The filter's weights for each pixel would otherwise take a gigabyte."""
    before, limit = address_space_bytes(), resource.getrlimit(resource.RLIMIT_AS)
    line = Image.new(mode, size, (255,) * len(mode))
    resource.setrlimit(resource.RLIMIT_AS, (before + 2**27, limit[1]))
    try:
        made = resize(line, fit_inside(size, (1600, 1600)))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    assert max(made.size) == 1600
    assert made.getextrema() == ((255, 255) if mode == "L" else ((255, 255),) * len(mode))
