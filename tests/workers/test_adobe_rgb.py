"""A camera that says in EXIF alone that a photo is in Adobe RGB is believed."""

import struct
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from tests import samples
from tests.samples import TiffKind
from tests.workers.corners import distance, pixel

Seen = Callable[..., Image.Image]

_STORED = (100, 200, 80)
_SHOWN = (0, 201, 67)
"""Of Adobe RGB, in sRGB: red is outside the gamut."""


def _file(format_: str, exif: bytes, **options: object) -> bytes:
    file = BytesIO()
    Image.new("RGB", (32, 32), _STORED).save(file, format_, exif=b"Exif\0\0" + exif, **options)
    return file.getvalue()


_OPTIONS: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True},
    "PNG": {},
}


@pytest.mark.parametrize("format_", _OPTIONS)
def test_it_is_converted_in_every_format_with_exif(seen: Seen, format_: str) -> None:
    """The value is that which the definition of Adobe RGB (1998) gives."""
    shown = pixel(seen(_file(format_, samples.adobe_rgb_exif(), **_OPTIONS[format_])), 8, 8)
    assert distance(shown, _SHOWN) <= 3


@pytest.mark.parametrize(
    "exif",
    [
        samples.adobe_rgb_exif(space=1),
        samples.adobe_rgb_exif(index=b"R98\0"),
        samples.adobe_rgb_exif(space=2),
        samples.adobe_rgb_exif()[:-20],
        b"MM\0*\0\0\0\x08",
    ],
    ids=range(5),
)
def test_any_other_exif_leaves_the_colours_as_they_are(seen: Seen, exif: bytes) -> None:
    """sRGB, another index, an unknown space, and EXIF that is cut off."""
    assert distance(pixel(seen(_file("PNG", exif)), 8, 8), _STORED) <= 1


@pytest.mark.parametrize("chunk", ["sRGB", "gAMA", "iCCP"])
def test_what_the_file_itself_says_goes_before_exif(seen: Seen, chunk: str) -> None:
    """A PNG that names sRGB in any way is sRGB."""
    if chunk == "iCCP":
        srgb = samples.rgb_profile(2.2, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
        data = _file("PNG", samples.adobe_rgb_exif(), icc_profile=srgb)
        with_profile = seen(_file("PNG", b"MM\0*\0\0\0\x08", icc_profile=srgb))
        assert distance(pixel(seen(data), 8, 8), pixel(with_profile, 8, 8)) == 0
        return
    value = b"\0" if chunk == "sRGB" else (45_455).to_bytes(4, "big")
    rows = samples.packed_rows(16, 16, bytes(_STORED))
    data = samples.raw_png(16, 16, 8, 2, rows, **{chunk: value, "eXIf": samples.adobe_rgb_exif()})
    assert distance(pixel(seen(data), 8, 8), _STORED) <= 1


@pytest.mark.parametrize(
    "kind", [TiffKind("u8", ">"), TiffKind("u16", ">", planes=True)], ids=["Pillow", "own"]
)
def test_it_is_converted_in_tiff(seen: Seen, kind: TiffKind) -> None:
    """Where EXIF is a directory of the file itself, whoever decodes its pixels."""
    image = Image.new("RGB", (32, 32), _STORED)
    with_pointer = TiffKind(kind.depth, kind.order, planes=kind.planes, more=((0x8769, 0),))
    data = bytearray(samples.sampled_tiff(image, with_pointer))
    at = data.index(struct.pack(">HHI", 0x8769, 4, 1)) + 8
    data[at : at + 4] = struct.pack(">I", len(data) + 26)
    data += samples.adobe_rgb_exif(start=len(data))
    assert distance(pixel(seen(bytes(data)), 8, 8), _SHOWN) <= 3
