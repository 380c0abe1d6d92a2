"""Reads the properties of the primary picture in an AVIF or HEIC file (ISO/IEC 23008-12)."""

import struct
from collections.abc import Iterator

Box = tuple[bytes, bytes]
"""The kind of a box, and its body."""

_MAX_BOXES = 4096
"""Boxes read in one place; files have dozens, and a picture of many tiles hundreds."""


def read_primary_properties(head: bytes) -> list[Box]:
    """The properties of the primary picture of the file that begins with `head`, in their order.

    Empty if the file names no primary picture, or its description is not whole in `head`.
    """
    try:
        return _read_properties(head)
    except (struct.error, IndexError):
        return []


def has_primary(head: bytes) -> bool:
    """Whether the file that begins with `head` has a box meta, and so a primary picture."""
    return any(kind == b"meta" for kind, _ in _read_boxes(head))


def read_primary_size(head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels that the primary picture claims to have as it is stored, if it does."""
    sizes = (body for kind, body in read_primary_properties(head) if kind == b"ispe" and len(body) >= 12)
    return next((struct.unpack_from(">II", body, 4) for body in sizes), None)


def _read_properties(head: bytes) -> list[Box]:
    meta = dict(_read_boxes(head)).get(b"meta", b"")[4:]
    parts = dict(_read_boxes(meta))
    primary, properties = parts.get(b"pitm", b""), list(_read_boxes(parts.get(b"iprp", b"")))
    if not primary:
        return []
    wanted = int.from_bytes(primary[4:], "big")
    known = list(_read_boxes(dict(properties).get(b"ipco", b"")))
    for kind, body in properties:
        for item, indices in _read_associations(body) if kind == b"ipma" else ():
            if item == wanted:
                return [known[index - 1] for index in indices if 0 < index <= len(known)]
    return []


def _read_associations(body: bytes) -> Iterator[tuple[int, list[int]]]:
    """Each picture in a box ipma, with the indices (from 1) of its properties."""
    id_format = ">H" if body[0] < 1 else ">I"
    index_bytes, index_mask = (2, 0x7FFF) if body[3] & 1 else (1, 0x7F)
    at = 8
    for _ in range(min(struct.unpack_from(">I", body, 4)[0], _MAX_BOXES)):
        (item,) = struct.unpack_from(id_format, body, at)
        at += struct.calcsize(id_format)
        end = at + 1 + body[at] * index_bytes
        packed = [body[start : start + index_bytes] for start in range(at + 1, end, index_bytes)]
        yield item, [int.from_bytes(index, "big") & index_mask for index in packed]
        at = end


def _read_boxes(data: bytes) -> Iterator[Box]:
    """The boxes that are whole in `data`, one after the other."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), at + 16
        end = len(data) if size == 0 else at + size
        if end < start or end > len(data):
            return
        yield kind, data[start:end]
        at = end
