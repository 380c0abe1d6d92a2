"""Files that are cut, claim too much, or only pretend to be images."""

import struct
import zlib

from tests.samples.raw import raw_png


def truncated(data: bytes, share: float = 0.6) -> bytes:
    """The first `share` of a file, as a broken upload leaves it."""
    return data[: int(len(data) * share)]


def bomb_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A few kilobytes that claim, and would unpack to, a vast picture."""
    return raw_png(width, height, 8, 0, zlib.compress(bytes(1_000_000), 9))


def bomb_gif() -> bytes:
    """44 bytes that claim the largest picture a GIF can."""
    size = struct.pack("<HH", 65_535, 65_535)
    return b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0" + size + b"\0\x02\x02D\x01\0;"


def pretenders() -> dict[str, bytes]:
    """Files that are no image taken here, by a name for each."""
    return {
        "empty": b"",
        "text": b"BM is how many a text begins, and GIF, and RIFF too.\n" * 4,
        "zip": b"PK\x03\x04" + bytes(60),
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "html": b"<!DOCTYPE html><html><body>GIF89a</body></html>",
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
        "elf": b"\x7fELF\x02\x01\x01" + bytes(57),
        "mp4": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(32),
        "quicktime": b"\0\0\0\x14ftypqt  \0\0\x02\0qt  " + bytes(32),
        "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(32),
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(32),
        "icon": b"\0\0\x01\0\x01\0\x10\x10" + bytes(32),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(32),
        "cut jpeg": b"\xff\xd8\xff",
        "cut png": b"\x89PNG\r\n\x1a\n",
    }
