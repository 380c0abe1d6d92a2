"""The chunks of a PNG: which there are, and the few without which there is no picture."""

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE_BYTES = 8
_OVERHEAD = 12
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_WORTH_KEEPING = (b"tRNS", b"sRGB", b"gAMA", b"iCCP", b"cICP", b"eXIf")


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes, length and checksum included, of each chunk that is whole in `data`, a PNG's head."""
    at = _SIGNATURE_BYTES
    while at + _OVERHEAD <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + _OVERHEAD + length
        if end > len(data):
            return
        yield kind, data[at:end]
        at = end


def essential(data: bytes) -> bytes:
    """The PNG `data` without what its picture can do without, or what its checksum calls damaged.

    A decoder may refuse a picture for a text, and for frames that nobody asked for; no browser does.
    """
    kept = [
        whole
        for kind, whole in chunks(data)
        if kind in _CRITICAL or (kind in _WORTH_KEEPING and zlib.crc32(whole[4:-4]) == _checksum(whole))
    ]
    return data[:_SIGNATURE_BYTES] + b"".join(kept)


def _checksum(chunk: bytes) -> int:
    return int.from_bytes(chunk[-4:], "big")
