"""Writes ICC profiles of displays, by their primaries and their curve."""

import struct
from collections.abc import Callable

Column = tuple[float, float, float]
"""XYZ values of a primary, adapted to D50, the white point of ICC profiles."""

SRGB_COLUMNS = ((0.43607, 0.22250, 0.01393), (0.38506, 0.71688, 0.09710), (0.14308, 0.06062, 0.71417))
"""Red, green and blue of sRGB."""
P3_COLUMNS = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""Red, green and blue of Display P3 (SMPTE EG 432-1 with the white of D65)."""
D50 = (0.9642, 1.0, 0.8249)

# The Bradford adaptation from D65, the white point of the display, to D50 (ICC.1:2022, annex E).
_D65_TO_D50 = (1.04788, 0.02292, -0.05019, 0.02959, 0.99048, -0.01708, -0.00925, 0.01508, 0.75168)
_COLUMN_TAGS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVE_POINTS = 1024


def srgb_light(value: float) -> float:
    """The linear light of a value in sRGB; both from 0 to 1."""
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def srgb_value(light: float) -> float:
    """The value in sRGB of a linear light; both from 0 to 1."""
    return 12.92 * light if light <= 0.0031308 else float(1.055 * light ** (1 / 2.4) - 0.055)


def make_rgb_profile(columns: tuple[Column, Column, Column], light: Callable[[float], float]) -> bytes:
    """A profile of red, green and blue with these `columns`; `light` is linear light of a value (0 to 1)."""
    samples = [round(65_535 * light(step / (_CURVE_POINTS - 1))) for step in range(_CURVE_POINTS)]
    curve = b"curv" + bytes(4) + struct.pack(f">I{_CURVE_POINTS}H", _CURVE_POINTS, *samples)
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve) | {b"wtpt": _xyz_tag(D50)}
    tags |= {name: _xyz_tag(column) for name, column in zip(_COLUMN_TAGS, columns, strict=True)}
    texts = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"CICP\0" + bytes(78)}
    return _build_profile(0x0240_0000, texts | tags | {b"cprt": b"text" + bytes(4) + b"none\0"})


def make_display_p3_profile() -> bytes:
    """A profile of Display P3 to be embedded (ICC version 4.3), with no more than viewers need: 492 bytes."""
    # Y = (a X + b) ^ g from d on, and c X below (ICC.1:2022, 10.18, function type 3): the curve of sRGB.
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0)
    curve += _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {b"desc": _text_tag("Display P3"), b"cprt": _text_tag("CC0"), b"wtpt": _xyz_tag(D50)}
    tags |= {b"chad": b"sf32" + bytes(4) + _fixed(*_D65_TO_D50)}
    tags |= {name: _xyz_tag(column) for name, column in zip(_COLUMN_TAGS, P3_COLUMNS, strict=True)}
    return _build_profile(0x0430_0000, tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def _xyz_tag(column: Column) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*column)


def _text_tag(text: str) -> bytes:
    """A text in English, as version 4 has them."""
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _fixed(*values: float) -> bytes:
    """Numbers as ICC profiles have them, in 1/65 536."""
    return struct.pack(f">{len(values)}i", *(round(value * 65_536) for value in values))


def _build_profile(version: int, tags: dict[bytes, bytes]) -> bytes:
    """A display profile with these tags; equal ones share their data."""
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    for name, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    header = struct.pack(">I4xI4s4s4s", start + len(body), version, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", 63_190, 65_536, 54_061)
    return header.ljust(128, b"\0") + table + body
