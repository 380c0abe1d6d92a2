"""What a refused file is said to be, for the person who sent it."""

import io
import zipfile

import pytest

from app.server.problems import KINDS
from app.uploads.file_kinds import explain_refusal
from app.uploads.file_sink import ACCEPT
from tests import samples
from workers.formats import SNIFF_BYTES, SOURCE_FORMATS, SOURCE_NAMES


def zipped(name: str) -> bytes:
    """A ZIP archive with one file of this name."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, b"content")
    return packed.getvalue()


def box(kind: bytes, content: bytes) -> bytes:
    """A box, as HEIF and MP4 have them."""
    return (len(content) + 8).to_bytes(4, "big") + kind + content


FILES = {
    "JPEG XL": b"\xff\x0a\xfa\x7f\x01\x90",
    "JPEG XL image": box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl "),
    "JPEG 2000": samples.pretenders()["jpeg 2000"],
    "Canon CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(30),
    "Canon CR3": box(b"ftyp", b"crx \0\0\0\1crx isom"),
    "NEF": b"MM\0*\0\0\0\x08\0\2\0\xfe\0\4\0\0\0\1\0\0\0\1\1\x4a\0\4\0\0\0\2\0\0\0\x40\0\0\0\0",
    "Fujifilm RAF": b"FUJIFILMCCD-RAW 0201FF383501",
    "Olympus ORF": b"IIRO\x08\0\0\0" + bytes(30),
    "SVG drawing": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by hand -->\n<svg width="1">',
    "PDF document": samples.pretenders()["pdf"],
    "video (QuickTime, MOV)": samples.pretenders()["quicktime"],
    "video (MP4)": samples.pretenders()["mp4"],
    "video (WebM or Matroska)": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1" + bytes(20),
    "video (AVI)": b"RIFF\x24\0\0\0AVI LIST" + bytes(32),
    "sound (WAV)": samples.pretenders()["wav"],
    "HTML page": b"\n<!doctype HTML><title>404</title>",
    "XML document": b'<?xml version="1.0"?><photo/>',
    "JSON text": b'{"image": "photo.jpg"}',
    "is text.": "Grüße".encode()[:-1] + b" " * 20,
    "is text. ": "BM and some UTF-16".encode("utf-16"),
    "base64 text of a JPEG": b"/9j/4AAQSkZJRgABAQAAAQABAAD",
    "base64 text of a PNG": b"iVBORw0KGgoAAAANSUhEUgAAAAEA",
    "data URL": b"data:image/png;base64,iVBORw0KGgo",
    "ZIP archive": zipped("photo.jpg"),
    "Office document": zipped("word/document.xml"),
    "older Office program": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40),
    "Photoshop document": b"8BPS\0\1" + bytes(20),
    "Windows icon": samples.pretenders()["icon"],
    "PostScript": samples.pretenders()["postscript"],
    "HEIF image of another kind": box(b"ftyp", b"mif1\0\0\0\0mif1miaf"),
    "DICOM": bytes(128) + b"DICM" + bytes(8),
    "compressed by gzip": b"\x1f\x8b\x08\0" + bytes(20),
    "nothing but zero bytes": bytes(600),
    "what macOS keeps beside a file": b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(20),
    "JPEG that is cut off or broken": samples.pretenders()["cut jpeg"],
    "PNG that is cut off or broken": samples.pretenders()["cut png"],
    "WebP image that is cut off": b"RIFF\x24\0\0\0WEBP",
    "kind that is not known": bytes(range(0x80, 0xF0)),
}


@pytest.mark.parametrize("said", FILES)
def test_a_refused_file_is_named(said: str) -> None:
    """With what is accepted in its place."""
    detail = explain_refusal(FILES[said][:SNIFF_BYTES])
    assert said.strip() in detail
    assert f"Accepted are {SOURCE_NAMES}." in detail
    assert detail.isprintable()


def test_what_is_accepted_is_listed_once() -> None:
    """The Accept field, the details and the page of the problem list the same formats."""
    assert SOURCE_NAMES == "JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF and HEIC"
    listed = ACCEPT.split(", ")
    assert (listed[0], listed[-1]) == ("multipart/form-data", "application/octet-stream")
    assert listed[1:-1] == [each.media_type for each in SOURCE_FORMATS.values()]
    named = ", ".join(each.removeprefix("image/") for each in listed[1:-1])
    assert named == SOURCE_NAMES.lower().replace(" and ", ", ")
    assert SOURCE_NAMES in KINDS["unsupported-media-type"].remedy
