"""Every kind of upload becomes its variants, in the right size, format and orientation."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import corners, distance, shows_the_picture
from workers.formats import is_format
from workers.messages import Made, Source

Seen = Callable[..., Image.Image]

_UPLOADS = {
    "jpeg": samples.jpeg(),
    "jpeg progressive": samples.jpeg(progressive=True),
    "jpeg 4:4:4": samples.jpeg(subsampling=0),
    "png": samples.png(),
    "png palette": samples.png(mode="P"),
    "png alpha": samples.png(mode="RGBA"),
    "png 16 bit": samples.deep_png(),
    "png 16 bit interlaced": samples.deep_png(interlaced=True),
    "apng": samples.apng(),
    "webp": samples.webp(),
    "webp lossless": samples.webp(lossless=True),
    "gif": samples.gif(),
    "gif animated": samples.gif(frames=3),
    "tiff": samples.tiff(),
    "tiff 16 bit": samples.deep_tiff(),
    "tiff 16 bit tiled": samples.deep_tiff(tile=16),
    "tiff lzw": samples.tiff(compression="tiff_lzw"),
    "tiff cmyk": samples.tiff(mode="CMYK"),
    "jpeg cmyk": samples.jpeg(mode="CMYK"),
    "bmp": samples.bmp(),
    "avif": samples.avif(),
    "heic": samples.heic(),
}


@pytest.mark.parametrize("name", sorted(_UPLOADS))
def test_every_kind_of_upload_shows_its_picture(making: Making, seen: Seen, name: str) -> None:
    """However it was stored, the colours are in their corners and the source is described."""
    done, _ = making(_UPLOADS[name], "it=64@png")
    assert done.source == Source(name.split()[0].replace("apng", "png"), 64, 48)
    assert done.made == (Made("it", "it.png", "png", 64, 48),)
    image = seen(_UPLOADS[name])
    if image.mode == "RGBA":
        # The lower half of this sample is transparent, so it has no colour to show.
        assert [distance(a, b) <= 12 for a, b in zip(corners(image), samples.CORNERS, strict=True)][:2] == [
            True,
            True,
        ]
    else:
        assert shows_the_picture(image, 16)


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("name", ["jpeg", "png alpha", "png palette", "gif", "heic"])
def test_every_output_is_what_it_says(making: Making, name: str, format_: str) -> None:
    """The files have the format and the size that the outcome says."""
    done, files = making(_UPLOADS[name], f"it=32@{format_}")
    assert is_format(format_, files["it"].read_bytes()[:512])
    with Image.open(files["it"]) as image:
        assert image.size == (done.made[0].width, done.made[0].height) == (32, 24)


def test_the_ladder_is_made_from_one_upload(making: Making) -> None:
    """Each variant has its size, in the configured order; none is enlarged."""
    done, files = making(
        samples.jpeg(300, 200), "thumb=30", "huge=1000@webp", "middle=150@png:50", "same=300"
    )
    assert [(made.name, made.file, made.width, made.height) for made in done.made] == [
        ("thumb", "thumb.jpg", 30, 20),
        ("huge", "huge.webp", 300, 200),
        ("middle", "middle.png", 150, 100),
        ("same", "same.jpg", 300, 200),
    ]
    for file in files.values():
        with Image.open(file) as image:
            assert shows_the_picture(image, 24)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3)])
def test_the_narrowest_pictures_keep_a_pixel(making: Making, size: tuple[int, int]) -> None:
    """No side becomes zero."""
    for data in (samples.jpeg(*size), samples.png(*size), samples.webp(*size)):
        done, _ = making(data, "it=8")
        assert min(done.made[0].width, done.made[0].height) >= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "tiff", "avif", "heic"])
def test_the_orientation_is_applied_once(making: Making, seen: Seen, format_: str, orientation: int) -> None:
    """All eight orientations become upright, at any scale, in every format that has them."""
    stored = samples.stored_as(orientation, samples.picture(96, 64))
    data = samples.encoded(stored, format_, orientation)
    done, _ = making(data, "it=48@png")
    assert (done.source.width, done.source.height) == (96, 64)
    for side in (96, 48, 24):
        image = seen(data, f"it={side}@png")
        assert image.width > image.height
        assert shows_the_picture(image, 24)
        assert image.getexif().get(0x0112) is None


def test_a_link_in_the_folder_is_replaced_not_followed(making: Making, tmp_path: Path) -> None:
    """A hostile earlier attempt cannot choose which file the next attempt writes to."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"untouched")
    (tmp_path / "made" / "it.jpg").symlink_to(precious)
    _, files = making(samples.jpeg(), "it=32")
    assert precious.read_bytes() == b"untouched"
    assert not files["it"].is_symlink()


def test_a_large_photo_is_decoded_at_a_reduced_scale(making: Making) -> None:
    """The size is exact, though the decoder reduces the picture, in portrait and in landscape."""
    for orientation in (1, 6):
        data = samples.jpeg(1999, 1333, orientation=orientation)
        done, files = making(data, "a=333", "b=100")
        assert [(made.width, made.height) for made in done.made] == [(333, 222), (100, 67)]
        with Image.open(files["b"]) as image:
            assert shows_the_picture(image, 16)
