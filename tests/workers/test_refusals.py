"""A task fails, with the right reason, if its image cannot or must not be decoded."""

import random
import resource
from pathlib import Path
from typing import Any

import pytest

from tests import samples
from tests.workers.conftest import Making
from workers.failures import JobError
from workers.formats import read_claimed_size, read_jpeg_depth
from workers.process import address_space_bytes

_FILES = {
    "jpeg": samples.jpeg(200, 150),
    "jpeg progressive": samples.jpeg(200, 150, progressive=True),
    "png": samples.png(200, 150),
    "webp": samples.webp(200, 150),
    "gif": samples.gif(200, 150),
    "tiff": samples.tiff(200, 150, compression="tiff_lzw"),
    "bmp": samples.bmp(200, 150),
    "avif": samples.avif(200, 150),
    "heic": samples.heic(200, 150),
}


def _reason(making: Making, data: bytes, *variants: str, **limits: object) -> str:
    with pytest.raises(JobError) as failure:
        making(data, *variants, **limits)
    detail = failure.value.detail
    assert detail.endswith(".")
    assert "/" not in detail
    assert detail.isprintable()
    return failure.value.reason


@pytest.mark.parametrize("name", sorted(_FILES))
def test_a_truncated_file_is_refused(making: Making, name: str) -> None:
    """An incomplete picture is not shown."""
    for share in (0.1, 0.5, 0.9):
        assert _reason(making, samples.truncated(_FILES[name], share)) == "undecodable"


def test_a_truncated_file_is_taken_where_that_is_asked_for(making: Making) -> None:
    """The part of a JPEG that is there is shown, and the next task is strict again."""
    cut = samples.truncated(_FILES["jpeg"])
    done, _ = making(cut, "it=64", truncated=True)
    assert (done.made[0].width, done.made[0].height) == (64, 48)
    assert _reason(making, cut) == "undecodable"


@pytest.mark.parametrize("name", sorted(samples.pretenders()))
def test_what_is_no_image_is_refused(making: Making, name: str) -> None:
    """Only files of the accepted formats are opened."""
    assert _reason(making, samples.pretenders()[name]) == "undecodable"


def test_a_gif_is_measured_before_its_reader_is_asked(making: Making) -> None:
    """Pillow allocates the whole canvas when it opens a GIF, if the first frame says so."""
    cleared = b"!\xf9\x04\x08\0\0\0\0,"
    assert _reason(making, samples.bomb_gif().replace(b",", cleared, 1)) == "too-many-pixels"


def test_a_chunk_that_claims_gigabytes_takes_none(making: Making) -> None:
    """A wrong length after the pixels is ignored: the pixels are complete, and are shown."""
    good = samples.png()
    end = good.index(b"IEND") - 4
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes() + 2**28, limit[1]))
    try:
        making(good[:end] + b"\x7f\xff\xff\xffnoNo")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


def test_a_jpeg_of_twelve_bits_is_refused_by_name(making: Making) -> None:
    """The detail names the bit depth: medical pictures and some scans have it."""
    deep = bytearray(samples.jpeg())
    header = deep.index(b"\xff\xc0")
    assert read_jpeg_depth(bytes(deep)) == 8
    deep[header + 4] = 12
    assert read_jpeg_depth(bytes(deep)) == 12
    with pytest.raises(JobError, match="12 bits a channel"):
        making(bytes(deep))
    assert read_jpeg_depth(bytes(deep[:header])) is None


@pytest.mark.parametrize("data", [samples.bomb_png(), samples.bomb_gif()], ids=["png", "gif"])
def test_a_bomb_is_refused_by_its_header(making: Making, data: bytes) -> None:
    """An image that claims more pixels than allowed is not decoded."""
    assert _reason(making, data) == "too-many-pixels"


@pytest.mark.parametrize(
    "head",
    [
        b"VP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0",
        b"VP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0",
        b"VP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f",
    ],
    ids=["extended", "lossless", "lossy"],
)
def test_a_webp_is_measured_before_its_decoder_is_asked(making: Making, head: bytes) -> None:
    """The decoder allocates gigabytes when it opens a file whose header of thirty bytes claims them."""
    assert _reason(making, b"RIFF\xff\0\0\0WEBP" + head) == "too-many-pixels"
    assert (
        _reason(making, b"RIFF\xff\0\0\0WEBP" + head, max_pixels=10**9, memory_bytes=10**9)
        == "too-much-memory"
    )


@pytest.mark.parametrize("options", [{}, {"mode": "RGBA"}, {"lossless": True}], ids=str)
def test_the_size_of_a_webp_is_read_from_its_head(options: dict[str, Any]) -> None:
    """The size is the one that the decoder reads."""
    assert read_claimed_size("webp", samples.webp(301, 207, **options)) == (301, 207)
    assert read_claimed_size("webp", samples.webp(301, 207, **options)[:24]) is None


def test_the_bound_on_pixels_is_exact(making: Making) -> None:
    """As many pixels as allowed are accepted, one more is not."""
    making(samples.png(100, 50), max_pixels=5000)
    assert _reason(making, samples.png(100, 50), max_pixels=4999) == "too-many-pixels"


def test_frames_count_where_they_are_decoded(making: Making) -> None:
    """All frames count if they are decoded, and only the first if nothing else is."""
    data = samples.gif(50, 40, frames=4)
    making(data, "it=10@webp", max_pixels=2000)
    assert _reason(making, data, "it=10@webp+anim", max_pixels=7999) == "too-many-pixels"
    making(data, "it=10@webp+anim", max_pixels=8000)


@pytest.mark.parametrize("name", sorted(_FILES))
def test_a_damaged_file_is_made_or_undecodable(making: Making, name: str) -> None:
    """Whichever exception a decoder raises, the reason is `undecodable`."""
    chance = random.Random(name)  # noqa: S311 (a repeatable choice, not a secret)
    for _ in range(60):
        data = bytearray(_FILES[name])
        for _ in range(chance.choice((1, 3, 30))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            making(bytes(data), "it=16", max_pixels=10**6)
        except JobError as error:
            assert error.reason in ("undecodable", "too-many-pixels", "too-much-memory")  # noqa: PT017


def test_the_size_of_a_header_must_not_be_nothing(making: Making) -> None:
    """An image with a side of zero pixels is refused."""
    assert _reason(making, samples.raw_png(0, 10, 8, 0, b"")) == "undecodable"
    assert _reason(making, samples.raw_png(10, 0, 8, 0, b"")) == "undecodable"


def test_a_folder_that_cannot_be_written_is_not_blamed_on_the_image(making: Making, tmp_path: Path) -> None:
    """The reason is not one of the image."""
    (tmp_path / "made").rmdir()
    assert _reason(making, samples.png()) == "worker-died"
