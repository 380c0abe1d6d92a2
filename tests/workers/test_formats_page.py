"""docs/formats.md says of every format what the code does."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from tests import samples
from tests.samples import TiffKind
from tests.samples.raw_bmp import ALPHA_BMPS, GOOD_BMPS, raw_bmp
from tests.workers.corners import shows_the_picture
from workers import decode
from workers.formats import SOURCE_FORMATS
from workers.memory import FRAME_BYTES_PER_PIXEL, MOVING_WEBP, predict_bytes

Seen = Callable[..., Image.Image]

_PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text()
_INKS = samples.picture(64, 48, "CMYK").split()


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page."""
    section = _PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


_FORMATS = {row[0]: row[1:] for row in _rows("Formats")}
_PICTURE = samples.picture(64, 48)
_KINDS: dict[tuple[str, str], list[Callable[[], bytes]]] = {
    ("JPEG", "grey"): [lambda: samples.jpeg(mode="L")],
    ("JPEG", "YCbCr"): [samples.jpeg, lambda: samples.jpeg(progressive=True, keep_rgb=True)],
    ("JPEG", "CMYK"): [lambda: samples.jpeg(mode="CMYK")],
    ("PNG", "grey of 1, 2"): [lambda: samples.png(mode="1"), lambda: samples.png(mode="I;16")],
    ("PNG", "grey of any"): [
        lambda: samples.raw_png(16, 16, 8, 0, samples.packed_rows(16, 16, b"\7"), tRNS=b"\0\7")
    ],
    ("PNG", "grey with"): [lambda: samples.png(mode="LA")],
    ("PNG", "palette"): [lambda: samples.png(mode="P")],
    ("PNG", "colour of"): [samples.png, samples.deep_png, lambda: samples.deep_png(interlaced=True)],
    ("PNG", "colour with"): [lambda: samples.png(mode="RGBA")],
    ("WebP", "lossy"): [samples.webp, lambda: samples.webp(lossless=True)],
    ("WebP", "with alpha"): [lambda: samples.webp(mode="RGBA")],
    ("GIF", "opaque"): [samples.gif],
    ("GIF", "with a"): [samples.gif_transparent],
    ("TIFF", "grey of"): [
        partial(samples.sampled_tiff, samples.picture(64, 48, "L"), TiffKind(depth))
        for depth in ("u1", "u12", "u16", "u24", "u32", "f16", "f24", "f32", "f64")
    ],
    ("TIFF", "grey with"): [lambda: samples.sampled_tiff(samples.picture(64, 48, "LA"))],
    ("TIFF", "RGB of"): [lambda: samples.sampled_tiff(_PICTURE, TiffKind("f32"))],
    ("TIFF", "RGB with"): [lambda: samples.sampled_tiff(samples.picture(64, 48, "RGBA"))],
    ("TIFF", "palette"): [
        lambda: samples.tiff(mode="P"),
        lambda: samples.tiff(compression="jpeg"),
        lambda: samples.tiff(mode="YCbCr"),
    ],
    ("TIFF", "CMYK, 8"): [lambda: samples.sampled_tiff(samples.picture(64, 48, "CMYK"))],
    ("TIFF", "CMYK with"): [
        lambda: samples.sampled_tiff(
            [*_INKS, samples.picture(64, 48, "RGBA").getchannel("A")], TiffKind(photometric=5, extra=(2,))
        )
    ],
    ("TIFF", "CIELAB"): [lambda: samples.sampled_tiff(_PICTURE, TiffKind(photometric=9))],
    ("BMP", "palette"): [lambda: raw_bmp(GOOD_BMPS["pal1"]), lambda: raw_bmp(GOOD_BMPS["pal4rle"])],
    ("BMP", "16, 24"): [lambda: raw_bmp(GOOD_BMPS["rgb16-565"]), samples.bmp],
    ("BMP", "bit fields"): [lambda: raw_bmp(ALPHA_BMPS["rgba16-1924"])],
    ("AVIF", "8, 10"): [samples.avif],
    ("AVIF", "with"): [lambda: samples.avif(mode="RGBA")],
    ("HEIC", "8 or"): [samples.heic],
    ("HEIC", "with"): [lambda: samples.heic(mode="RGBA")],
}
"""Files of each row of the page: its format, and the beginning of its kind."""


def test_every_format_that_is_taken_is_named_with_its_media_type() -> None:
    """And no other."""
    assert set(_FORMATS) == {each.name for each in SOURCE_FORMATS.values()}
    for each in SOURCE_FORMATS.values():
        assert _FORMATS[each.name][0] == f"`{each.media_type}`"


@pytest.mark.parametrize("key", SOURCE_FORMATS)
def test_the_memory_is_that_which_is_reckoned_with(key: str) -> None:
    """For each pixel of a picture in colour."""
    needed = predict_bytes(key, "P" if key == "gif" else "RGB", (1000, 1000))
    assert needed == int(_FORMATS[SOURCE_FORMATS[key].name][3]) * 10**6


def test_the_bounds_that_follow_from_memory_are_the_numbers_of_the_page() -> None:
    """At the default of WORKER_MEMORY, 1 GiB."""
    for mode, per_pixel, bound in (("F", 14, 76), ("FFF", 22, 48), ("CMYKA", 16, 67)):
        assert predict_bytes("tiff", mode, (1000, 1000)) == per_pixel * 10**6
        assert 2**30 // per_pixel // 10**6 == bound
        assert f"{per_pixel} " in _PAGE
        assert f"{bound} " in _PAGE
    assert predict_bytes(MOVING_WEBP, "RGBA", (1000, 1000)) == 16 * 10**6
    assert 16 + FRAME_BYTES_PER_PIXEL == 24
    assert 2**30 // 16 // 10**6 == 67


@pytest.mark.parametrize("key", SOURCE_FORMATS)
def test_what_can_move_is_told(key: str) -> None:
    """An animation stays one where the page says so."""
    says = _FORMATS[SOURCE_FORMATS[key].name][2].startswith("yes")
    assert says == (key in decode._ANIMATED)


@pytest.mark.parametrize("key", SOURCE_FORMATS)
def test_pictures_are_turned_by_what_the_page_names(seen: Seen, key: str) -> None:
    """Two formats have no orientation."""
    if _FORMATS[SOURCE_FORMATS[key].name][1] == "none":
        assert key in ("gif", "bmp")
        return
    data = samples.encoded(samples.stored_as(6, samples.picture(64, 48)), key, 6)
    assert shows_the_picture(seen(data), 30)


def test_every_kind_on_the_page_has_files_here() -> None:
    """Each row exactly once."""
    rows = [(row[0], row[1]) for row in _rows("Kinds of pixels")]
    found = [[row for row in rows if row[0] == name and row[1].startswith(kind)] for name, kind in _KINDS]
    assert [len(each) for each in found] == [1] * len(_KINDS)
    assert len(rows) == len(_KINDS)


@pytest.mark.parametrize("row", _rows("Kinds of pixels"), ids=lambda row: f"{row[0]} {row[1][:20]}")
def test_each_kind_becomes_what_the_page_says(seen: Seen, row: list[str]) -> None:
    """By the mode of a variant in PNG."""
    makers = next(made for (name, kind), made in _KINDS.items() if name == row[0] and row[1].startswith(kind))
    for make in makers:
        assert f"`{seen(make()).mode}`" == row[2]
