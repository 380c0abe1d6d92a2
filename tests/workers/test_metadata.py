"""No metadata of the source is served."""

from io import BytesIO

import pytest
from PIL import Image, PngImagePlugin

from tests import samples
from tests.samples import SECRET
from tests.workers.conftest import Making

_PROFILE = samples.rgb_profile(2.2, (0.68, 0.32), (0.28, 0.65), (0.155, 0.07))
_XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + SECRET + b"</x:xmpmeta>"
_TRACES = (
    SECRET,
    b"Exif",
    b"EXIF",
    b"eXIf",
    b"xmp",
    b"XMP",
    b"ICC",
    b"iCCP",
    b"colrprof",
    b"tEXt",
    b"iTXt",
    b"zTXt",
)


def _full_of_metadata(format_: str) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET.decode())
    text.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    options: dict[str, object] = {
        "exif": samples.exif(3, gps=True, thumbnail=samples.jpeg(16, 12)),
        "icc_profile": _PROFILE,
        "xmp": _XMP,
        "comment": SECRET,
    }
    if format_ == "PNG":
        options = {"exif": options["exif"], "icc_profile": _PROFILE, "pnginfo": text}
    if format_ == "GIF":
        options = {"comment": SECRET}
    file = BytesIO()
    samples.picture(64, 48).save(file, format_, **options)
    assert SECRET in file.getvalue()
    return file.getvalue()


@pytest.mark.parametrize("made", ["jpeg", "png", "webp", "avif", "webp+anim"])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIF", "TIFF"])
def test_no_metadata_leaves(making: Making, format_: str, made: str) -> None:
    """No variant has place, name, comment, profile or thumbnail, at the source's size or smaller."""
    for side in (64, 20):
        _, files = making(_full_of_metadata(format_), f"it={side}@{made}")
        served = files["it"].read_bytes()
        assert [trace for trace in _TRACES if trace in served] == []
        with Image.open(files["it"]) as image:
            image.load()
            assert not dict(image.getexif())
            assert not {"exif", "icc_profile", "xmp", "comment", "Comment"} & {str(key) for key in image.info}


def test_an_animation_loses_its_comment(making: Making) -> None:
    """The frames of an animation have no metadata either."""
    file = BytesIO()
    frames = [samples.picture(32, 24).rotate(90 * turn) for turn in range(3)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], comment=SECRET)
    _, files = making(file.getvalue(), "it=32@webp+anim")
    assert SECRET not in files["it"].read_bytes()
