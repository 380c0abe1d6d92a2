"""HEIC pictures that are reduced: decoded to luma and chroma where that gives the same picture."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image, ImageChops, ImageStat

from tests import samples
from workers.heic import decode_reduced
from workers.scaling import resize

SIZE = (160, 120)
NCLX = b"nclx" + struct.pack(">HHHB", 1, 13, 6, 0x80)
"""The colours of the samples: primaries and curve of sRGB, the matrix of BT.601, all values used."""


def heic(width: int = 641, height: int = 481, mode: str = "RGB", **options: Any) -> bytes:
    """An HEIC file; `options` go to the encoder."""
    file = BytesIO()
    pillow_heif.from_pillow(samples.picture(width, height, mode)).save(file, **{"quality": 90, **options})
    return file.getvalue()


def deep() -> bytes:
    """An HEIC file of ten bits a channel."""
    file = BytesIO()
    pillow_heif.from_bytes("RGB;16", (640, 480), bytes(640 * 480 * 6)).save(file, quality=90)
    return file.getvalue()


def with_colours(matrix: int, flags: int) -> bytes:
    """An HEIC file that says other colours."""
    return heic().replace(NCLX, b"nclx" + struct.pack(">HHHB", 1, 13, matrix, flags))


def decoded(
    data: bytes, folder: Path, needed: tuple[int, int] = SIZE
) -> tuple[Image.Image | None, Image.Image]:
    """The reduced picture, and the one that pillow_heif makes."""
    path = folder / "photo.heic"
    path.write_bytes(data)
    with Image.open(path) as image:
        reduced = decode_reduced(image, needed)
        return reduced, image.convert("RGB")


@pytest.mark.parametrize(
    "data",
    [
        heic(),
        heic(tile_size=256),
        heic(save_nclx_profile=False),
        heic(exif=samples.exif(6)),
        with_colours(1, 0x80),
        with_colours(6, 0),
        with_colours(2, 0x80),
    ],
    ids=["one picture", "tiles", "no colours told", "rotated", "BT.709", "limited range", "no matrix"],
)
def test_a_reduced_picture_is_the_same(data: bytes, tmp_path: Path) -> None:
    """Also with odd sides, of which chroma has half a pixel more."""
    for size in (SIZE, (240, 240)):
        reduced, whole = decoded(data, tmp_path, size)
        assert reduced is not None
        assert (reduced.mode, reduced.size) == ("RGB", size)
        difference = ImageStat.Stat(ImageChops.difference(reduced, resize(whole, size)))
        assert max(difference.mean) < 1


def test_chroma_of_the_wanted_size_outlives_the_decoder(tmp_path: Path) -> None:
    """It need not be scaled, and its memory belongs to libheif."""
    reduced, whole = decoded(heic(640, 480), tmp_path, (320, 240))
    blocks = [bytes(1 << 16) for _ in range(64)]
    assert reduced is not None
    assert max(ImageStat.Stat(ImageChops.difference(reduced, resize(whole, (320, 240)))).mean) < 1
    del blocks


@pytest.mark.parametrize(
    ("data", "needed"),
    [
        (heic(), (321, 240)),
        (heic(mode="RGBA"), SIZE),
        (heic(chroma=444), SIZE),
        (deep(), SIZE),
        (heic(mode="L"), SIZE),
    ],
    ids=["hardly reduced", "alpha", "4:4:4", "ten bits", "grey"],
)
def test_other_pictures_are_left_to_pillow_heif(data: bytes, needed: tuple[int, int], tmp_path: Path) -> None:
    """Of them Pillow would make other colours, or chroma would have to be enlarged."""
    assert decoded(data, tmp_path, needed)[0] is None


def test_a_damaged_picture_is_left_to_pillow_heif(tmp_path: Path) -> None:
    """Which can say what is wrong with it."""
    path = tmp_path / "photo.heic"
    path.write_bytes(heic()[:-2000])
    with Image.open(path) as image:
        assert decode_reduced(image, SIZE) is None
        path.write_bytes(b"no picture")
        assert decode_reduced(image, SIZE) is None
