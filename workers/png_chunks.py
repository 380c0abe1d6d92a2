"""The chunks of a PNG: which there are, and the few without which there is no picture."""

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE_BYTES = 8
_OVERHEAD = 12
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_WORTH_KEEPING = {b"tRNS": 1, b"sRGB": 1, b"gAMA": 4, b"iCCP": 12, b"cICP": 4, b"eXIf": 8}
"""By kind, the bytes that one has at least."""


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
    kept = [whole for kind, whole in chunks(data) if kind in _CRITICAL or _is_worth_keeping(kind, whole)]
    return data[:_SIGNATURE_BYTES] + b"".join(kept)


def _is_worth_keeping(kind: bytes, whole: bytes) -> bool:
    least = _WORTH_KEEPING.get(kind)
    if least is None or len(whole) < least + _OVERHEAD:
        return False
    return zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big")
