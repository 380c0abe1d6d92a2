"""Images are told from everything else by their first bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import samples
from workers.formats import EXTENSIONS, MEDIA_TYPES, PILLOW_NAMES, SNIFF_BYTES, is_format, sniff
from workers.variants import OUTPUT_FORMATS

_FILES = {
    "jpeg": samples.jpeg(),
    "png": samples.png(),
    "webp": samples.webp(),
    "gif": samples.gif(),
    "tiff": samples.tiff(),
    "bmp": samples.bmp(),
    "avif": samples.avif(),
    "heic": samples.heic(),
}


@pytest.mark.parametrize("name", sorted(_FILES))
def test_every_format_is_known_by_its_head(name: str) -> None:
    """The first bytes are enough, and belong to one format only."""
    head = _FILES[name][:SNIFF_BYTES]
    assert sniff(head) == name
    assert [each for each in PILLOW_NAMES if is_format(each, head)] == [name]


@pytest.mark.parametrize("name", sorted(samples.pretenders()))
def test_no_pretender_passes(name: str) -> None:
    """Texts, archives, documents, programs and videos are not recognised as images."""
    assert sniff(samples.pretenders()[name][:SNIFF_BYTES]) is None


@pytest.mark.parametrize("major", [b"heic", b"mif1"])
def test_a_brand_that_follows_tells_heic_from_avif(major: bytes) -> None:
    """Files with the common brand are told apart by their compatible brands."""

    def container(*brands: bytes) -> bytes:
        body = b"ftyp" + major + bytes(4) + b"".join(brands)
        return (len(body) + 4).to_bytes(4, "big") + body + b"avif" * 9

    assert sniff(container(b"miaf", b"heic")) == "heic"
    assert sniff(container(b"miaf")) == ("heic" if major == b"heic" else None)
    assert sniff(container(b"avif")) == ("heic" if major == b"heic" else "avif")


@given(st.binary(max_size=SNIFF_BYTES))
def test_any_bytes_are_a_known_format_or_none(head: bytes) -> None:
    """No bytes make `sniff` raise."""
    assert sniff(head) in {None, *PILLOW_NAMES}


@given(st.sampled_from(sorted(_FILES)), st.integers(0, 40))
def test_a_head_cut_short_is_never_taken_for_another_format(name: str, length: int) -> None:
    """The start of a file is its own format, or none."""
    assert sniff(_FILES[name][:length]) in {None, name}


def test_every_output_format_has_an_ending_and_a_media_type() -> None:
    """Every format that can be configured can be named and served."""
    assert set(OUTPUT_FORMATS) == set(EXTENSIONS) == set(MEDIA_TYPES)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_raw_file_of_a_camera_is_no_picture(order: str) -> None:
    """It begins like a TIFF, but its first picture is a thumbnail and not the photo."""

    def head(*entries: tuple[int, int]) -> bytes:
        packed = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries)
        start = b"II*\0" if order == "<" else b"MM\0*"
        return start + struct.pack(f"{order}IH", 8, len(entries)) + packed + bytes(60)

    assert sniff(head((254, 1), (256, 160), (271, 500), (330, 400))) is None
    assert sniff(head((254, 0), (256, 160), (50_706, 0x0401))) is None
    assert sniff(b"II*\0\x10\0\0\0CR\2\0" + bytes(60)) is None
    assert sniff(head((254, 0), (256, 160), (330, 400))) == "tiff"
    # A thumbnail with its picture below it, of no camera.
    assert sniff(head((254, 1), (256, 160), (330, 400))) == "tiff"
    assert sniff(head((254, 1), (256, 160))) == "tiff"


def test_a_jpeg_may_be_filled_up_before_its_first_segment() -> None:
    """Any number of bytes 0xFF may come before a marker (ITU-T T.81, B.1.1.2)."""
    data = samples.jpeg()
    assert sniff(data[:2] + b"\xff" * 9 + data[2:]) == "jpeg"
    assert sniff(data[:2] + b"\xff" * 9 + b"\0" + data[2:]) is None
    assert sniff(b"\xff" * 20) is None
