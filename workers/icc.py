"""Writes ICC profiles of displays, by their primaries and their curve."""

import struct
from collections.abc import Callable

Column = tuple[float, float, float]
"""XYZ values of a primary, adapted to D50, the white point of ICC profiles."""

SRGB_COLUMNS = ((0.43607, 0.22250, 0.01393), (0.38506, 0.71688, 0.09710), (0.14308, 0.06062, 0.71417))
"""Red, green and blue of sRGB."""
D50 = (0.9642, 1.0, 0.8249)

_COLUMN_TAGS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVE_POINTS = 1024


def srgb_light(value: float) -> float:
    """The linear light of a value in sRGB; both from 0 to 1."""
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def make_rgb_profile(columns: tuple[Column, Column, Column], light: Callable[[float], float]) -> bytes:
    """A profile of red, green and blue with these `columns`; `light` is linear light of a value (0 to 1)."""
    samples = [round(65_535 * light(step / (_CURVE_POINTS - 1))) for step in range(_CURVE_POINTS)]
    curve = b"curv" + bytes(4) + struct.pack(f">I{_CURVE_POINTS}H", _CURVE_POINTS, *samples)
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve) | {b"wtpt": _xyz_tag(D50)}
    tags |= {name: _xyz_tag(column) for name, column in zip(_COLUMN_TAGS, columns, strict=True)}
    return _build_profile(tags)


def _xyz_tag(column: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65_536) for value in column))


def _build_profile(tags: dict[bytes, bytes]) -> bytes:
    """A display profile (ICC version 2) with these tags and the two texts that are required."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"CICP\0" + bytes(78)} | tags
    tags |= {b"cprt": b"text" + bytes(4) + b"none\0"}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x0240_0000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", 63_190, 65_536, 54_061)
    return header.ljust(128, b"\0") + table + body
