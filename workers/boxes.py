"""Reads properties of the pictures in an AVIF or HEIC file (ISO/IEC 23008-12), and finds its thumbnail."""

import struct
from collections.abc import Iterator

Box = tuple[bytes, bytes]
"""The kind of a box, and its body."""

_THUMBNAIL, _UNKNOWN = b"thmb", b"none"
"""Kinds of references from one picture to another."""
_TURNS = (b"irot", b"imir", b"clap")
"""Properties by which a decoder rotates, mirrors or cuts a picture."""
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


def show_thumbnail(head: bytes) -> bytes | None:
    """`head` of a file with the thumbnail as its primary picture; None if it has none or that is turned.

    A thumbnail is an item that refers to the primary picture as "thmb". A decoder passes over such items, so
    that reference is made unreadable. A thumbnail that is to be rotated, mirrored or cut in another way than
    the picture is none of it.
    """
    try:
        return _show_thumbnail(head)
    except (struct.error, IndexError, KeyError):
        return None


def _show_thumbnail(head: bytes) -> bytes | None:
    at = {kind: span for kind, *span in _read_spans(head, 0, len(head))}[b"meta"]
    parts = {kind: span for kind, *span in _read_spans(head, at[0] + 4, at[1])}
    (first, last), (start, end) = parts[b"pitm"], parts[b"iref"]
    primary = int.from_bytes(head[first + 4 : last], "big")
    id_bytes = 4 if head[start] else 2
    for kind, body, body_end in _read_spans(head, start + 4, end):
        ids = range(body + id_bytes + 2, body_end, id_bytes)
        pictures = [int.from_bytes(head[each : each + id_bytes], "big") for each in ids]
        if kind != _THUMBNAIL or pictures != [primary]:
            continue
        thumbnail = int.from_bytes(head[body : body + id_bytes], "big")
        if _turns(_read_properties(head, thumbnail)) != _turns(_read_properties(head)):
            return None
        shown = bytearray(head)
        shown[first + 4 : last] = thumbnail.to_bytes(last - first - 4, "big")
        shown[body - 4 : body] = _UNKNOWN
        return bytes(shown)
    return None


def _turns(properties: list[Box]) -> list[Box]:
    return [box for box in properties if box[0] in _TURNS]


def _read_properties(head: bytes, wanted: int | None = None) -> list[Box]:
    """The properties of the item `wanted`, or else of the primary picture."""
    meta = dict(_read_boxes(head)).get(b"meta", b"")[4:]
    parts = dict(_read_boxes(meta))
    primary, properties = parts.get(b"pitm", b""), list(_read_boxes(parts.get(b"iprp", b"")))
    if not primary:
        return []
    if wanted is None:
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
    for kind, start, end in _read_spans(data, 0, len(data)):
        yield kind, data[start:end]


def _read_spans(data: bytes, at: int, limit: int) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each box that is whole between two positions of `data`, and start and end of its body."""
    for _ in range(_MAX_BOXES):
        if at + 8 > limit:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), at + 16
        end = limit if size == 0 else at + size
        if end < start or end > limit:
            return
        yield kind, start, end
        at = end
