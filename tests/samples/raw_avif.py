"""AVIF files put together box by box (ISO/IEC 23008-12), for what no encoder here writes."""

import struct

_EXACT = b"av1C"
"""The property without which a decoder must not go on."""


def with_thumbnail(picture: bytes, thumbnail: bytes) -> bytes:
    """An AVIF whose primary picture is that of one file, and its thumbnail that of another."""
    kind = picture[: int.from_bytes(picture[:4], "big")]
    items = [_read_item(each) for each in (picture, thumbnail)]
    data = b"".join(bytes_ for _, bytes_ in items)
    start = len(kind) + len(_meta(items, 0)) + 8
    return kind + _meta(items, start) + _box(b"mdat", data)


def _meta(items: list[tuple[list[tuple[bytes, bytes]], bytes]], start: int) -> bytes:
    """The box that describes `items` (properties and bytes), whose bytes begin at `start`."""
    properties, associations, places, infos = b"", b"", b"", b""
    count = 0
    for number, (own, data) in enumerate(items, 1):
        properties += b"".join(_box(kind, body) for kind, body in own)
        indices = [count + index + (0x80 if kind == _EXACT else 0) for index, (kind, _) in enumerate(own, 1)]
        associations += struct.pack(">HB", number, len(own)) + bytes(indices)
        places += struct.pack(">HHHII", number, 0, 1, start, len(data))
        infos += _full_box(b"infe", struct.pack(">HH4sx", number, 0, b"av01"), version=2)
        count += len(own)
        start += len(data)
    several = struct.pack(">H", len(items))
    ipma = _full_box(b"ipma", struct.pack(">I", len(items)) + associations)
    return _full_box(
        b"meta",
        _full_box(b"hdlr", struct.pack(">4x4s13x", b"pict"))
        + _full_box(b"pitm", struct.pack(">H", 1))
        + _full_box(b"iloc", b"\x44\x00" + several + places)
        + _full_box(b"iinf", several + infos)
        + _full_box(b"iref", _box(b"thmb", struct.pack(">HHH", 2, 1, 1)))
        + _box(b"iprp", _box(b"ipco", properties) + ipma),
    )


def _read_item(file: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The properties and the bytes of the one picture in a file."""
    top = dict(_boxes(file))
    properties = dict(_boxes(dict(_boxes(top[b"meta"][4:]))[b"iprp"]))[b"ipco"]
    return _boxes(properties), top[b"mdat"]


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at + 8 : at + size]))
        at += size
    return found


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full_box(kind: bytes, body: bytes, version: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24) + body)
