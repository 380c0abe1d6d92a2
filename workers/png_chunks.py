"""The chunks of a PNG file, and the file reduced to those that its picture needs."""

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE_BYTES = 8
_CHUNK_OVERHEAD_BYTES = 12
"""Length, kind and checksum."""
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_MIN_DATA_BYTES = {b"tRNS": 1, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"iCCP": 12, b"cICP": 4, b"eXIf": 8}
"""The other chunks that affect the picture, with the least length of their data."""


def read_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes (with length and checksum) of each complete chunk in `data`, the start of a PNG."""
    at = _SIGNATURE_BYTES
    while at + _CHUNK_OVERHEAD_BYTES <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + _CHUNK_OVERHEAD_BYTES + length
        if end > len(data):
            return
        yield kind, data[at:end]
        at = end


def keep_essential_chunks(data: bytes) -> bytes:
    """The PNG file `data` without chunks that its picture does not need, or whose checksum is wrong.

    Pillow refuses a file for a damaged text or animation frame; browsers show its picture.
    """
    kept = [whole for kind, whole in read_chunks(data) if kind in _CRITICAL or _is_useful(kind, whole)]
    return data[:_SIGNATURE_BYTES] + b"".join(kept)


def _is_useful(kind: bytes, whole: bytes) -> bool:
    min_data_bytes = _MIN_DATA_BYTES.get(kind)
    if min_data_bytes is None or len(whole) < min_data_bytes + _CHUNK_OVERHEAD_BYTES:
        return False
    return zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big")
