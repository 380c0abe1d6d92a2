"""Decompression bombs: small files that claim, or unpack to, far more than any photo needs."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests import samples
from tests.service import Service, until
from tests.system.hostile.conftest import Honest

REFUSED = {"too-many-pixels", "too-much-memory", "too-slow", "undecodable"}


def _patched(data: bytes, at: int, layout: str, *values: int) -> bytes:
    """`data` with other values in its header."""
    return data[:at] + struct.pack(layout, *values) + data[at + struct.calcsize(layout) :]


def _jpeg() -> bytes:
    """A JPEG whose frame header (SOF0) claims 65 500 x 65 500 pixels."""
    data = samples.jpeg()
    return _patched(data, data.index(b"\xff\xc0") + 5, ">HH", 65_500, 65_500)


def _progressive() -> bytes:
    """A progressive JPEG of 400 scans, each of which costs a pass over a picture of the allowed size."""
    file = io.BytesIO()
    Image.new("L", (8000, 8000)).save(file, "JPEG", progressive=True, quality=10)
    data = file.getvalue()
    scan = data.rindex(b"\xff\xda")
    return data[:scan] + data[scan:-2] * 400 + b"\xff\xd9"


def _png_text() -> bytes:
    """A comment that unpacks to 64 MB."""
    data = samples.png()
    text = b"Comment\0\0" + zlib.compress(bytes(64_000_000), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    return data[:33] + chunk + data[33:]


def _png_profile() -> bytes:
    """A colour profile that unpacks to 64 MB."""
    data = samples.png()
    profile = b"icc\0\0" + zlib.compress(bytes(64_000_000), 9)
    chunk = struct.pack(">I", len(profile)) + b"iCCP" + profile
    return data[:33] + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + data[33:]


def _apng() -> bytes:
    """A header that claims four thousand million frames."""
    data = samples.apng()
    return _patched(data, data.index(b"acTL") + 4, ">I", 2**32 - 1)


def _gif_frames() -> bytes:
    """A GIF with a hundred thousand tiny frames."""
    frame = b"!\xf9\x04\0\x01\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    return b"GIF89a\xd0\x07\xd0\x07\x80\0\0\0\0\0\xff\xff\xff" + frame * 100_000 + b";"


def _tiff() -> bytes:
    """A strip of zeros that unpacks to 900 million pixels."""
    strip = zlib.compress(bytes(30_000 * 3000), 9) * 10
    entries = [(256, 30_000), (257, 30_000), (258, 8), (259, 8), (262, 1), (273, 8 + 2 + 9 * 12 + 4)]
    entries += [(277, 1), (278, 30_000), (279, len(strip))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4) + strip


def _bmp() -> bytes:
    """A header that claims 60 000 x 60 000 pixels, run-length encoded to nothing."""
    head = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024, 0, 0, 54 + 1024) + head + bytes(1024) + b"\0\1"


def _webp() -> bytes:
    """A canvas of 16 383 x 16 383, which is beyond the limit, around a small picture."""
    data = samples.animated_webp()
    return _patched(data, data.index(b"VP8X") + 12, "<HBHB", 0x3FFE, 0, 0x3FFE, 0)


def _ispe(data: bytes) -> bytes:
    """An AVIF or HEIC file whose header (ispe) claims 60 000 x 60 000 pixels."""
    at = data.index(b"ispe") + 8
    return _patched(data, at, ">II", 60_000, 60_000)


def bombs() -> dict[str, bytes]:
    """At least one bomb of every format, by name."""
    return {
        "png": samples.bomb_png(),
        "png text": _png_text(),
        "png profile": _png_profile(),
        "apng": _apng(),
        "jpeg": _jpeg(),
        "progressive jpeg": _progressive(),
        "gif": samples.bomb_gif(),
        "gif frames": _gif_frames(),
        "tiff": _tiff(),
        "bmp": _bmp(),
        "webp": _webp(),
        "avif": _ispe(samples.avif()),
        "heic": _ispe(samples.heic()),
    }


HARMLESS = {"png text", "png profile", "apng", "gif frames"}
"""Bombs in parts of a file that are not read, so that their jobs may be done."""


def test_end_as_a_failure_of_their_own(fortress: Service, honest: Honest) -> None:
    """Each job fails in time and within its memory, or is done, and no worker is lost."""
    before = fortress.stats()
    files = bombs()
    with ThreadPoolExecutor(len(files)) as threads:
        uploads = {
            name: threads.submit(fortress.upload, data, prefer="wait=60") for name, data in files.items()
        }
        for name, upload in uploads.items():
            answer = upload.result()
            if answer.status_code == 201:
                assert name in HARMLESS, name
                continue
            assert answer.status_code == 422, (name, answer.text)
            assert answer.json()["type"].removeprefix("/problems/") in REFUSED, name
    served = honest.served
    until(lambda: honest.served > served, "the honest client to be served after them")
    after = fortress.stats()
    assert [w["restarts"] for w in after["workers"]] == [w["restarts"] for w in before["workers"]]
    assert fortress.get("/readyz").status == 200


@pytest.mark.usefixtures("honest")
def test_of_a_packed_body(fortress: Service) -> None:
    """Content-Encoding is not decoded: the bytes are judged as they are, so the answer is 415."""
    packed = zlib.compress(bytes(10_000_000), 9)
    answer = fortress.upload(packed, **{"content-encoding": "gzip"})
    assert answer.status_code == 415
