"""Colours that a file names by code points (ITU-T H.273, "CICP") instead of giving a profile: made one here.

HEIC and AVIF have them in a box of type nclx, PNG in a chunk cICP. What is near enough to sRGB makes none.
"""

import math
import struct
from collections.abc import Callable
from functools import lru_cache

from workers.png_chunks import chunks

Codes = tuple[int, int]
"""Code points of the primaries and of the transfer characteristics."""

# Columns of red, green and blue, adapted to the white of profiles (D50).
_PRIMARIES = {
    1: ((0.43607, 0.22250, 0.01393), (0.38506, 0.71688, 0.09710), (0.14308, 0.06062, 0.71417)),
    9: ((0.67346, 0.27903, -0.00193), (0.16566, 0.67534, 0.02998), (0.12510, 0.04563, 0.79716)),
    12: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
# Unknown, and those of standard television, which differ from sRGB's less than writers of files heed.
_PRIMARIES |= dict.fromkeys((2, 5, 6, 7), _PRIMARIES[1])
_PRIMARIES[11] = _PRIMARIES[12]  # the cinema's white is not meant where a photo says so
_SRGB, _PQ, _HLG = 13, 16, 18
# The curves of cameras for video: pictures that state them are viewed as sRGB everywhere.
_LIKE_SRGB = (1, 2, 6, 13, 14, 15)
_WHITE_NITS = 203
"""Luminance of paper white in a picture of high dynamic range (ITU-R BT.2408)."""
_CICP_BYTES = 16
_SHOULDER = 0.5
_STEPS = 1024


def png_codes(head: bytes) -> Codes | None:
    """The code points in the chunk cICP of the PNG file starting with `head`, if it has one in there."""
    for kind, whole in chunks(head):
        if kind == b"cICP" and len(whole) == _CICP_BYTES:
            return whole[8], whole[9]
        if kind == b"IDAT":
            break
    return None


def box_codes(head: bytes) -> Codes | None:
    """The code points in the first box of colours of the AVIF file starting with `head`, if it has any."""
    at = head.find(b"\0\0\0\x13colrnclx")
    return None if at < 0 or at + 16 > len(head) else struct.unpack_from(">HH", head, at + 12)


@lru_cache(maxsize=8)
def profile(codes: Codes) -> bytes | None:
    """An ICC profile of these colours; None where they are sRGB, as far as can be seen, or not known."""
    primaries, transfer = codes
    columns = _PRIMARIES.get(primaries)
    light = _light(transfer)
    if columns is None or light is None or (columns is _PRIMARIES[1] and transfer in _LIKE_SRGB):
        return None
    samples = [round(65_535 * light(step / (_STEPS - 1))) for step in range(_STEPS)]
    curve = b"curv" + bytes(4) + struct.pack(f">I{_STEPS}H", _STEPS, *samples)
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve) | {b"wtpt": _xyz((0.9642, 1.0, 0.8249))}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return _profile(tags)


def _light(transfer: int) -> Callable[[float], float] | None:
    """Linear light, 0 to 1, of a value from 0 to 1."""
    if transfer in _LIKE_SRGB:
        return lambda value: value / 12.92 if value <= 0.04045 else math.pow((value + 0.055) / 1.055, 2.4)
    if transfer == _PQ:
        return lambda value: _shown(10_000 * _pq(value))
    if transfer == _HLG:
        return lambda value: _shown(1_000 * math.pow(_hlg(value), 1.2))
    exponent = {4: 2.2, 5: 2.8, 8: 1.0}.get(transfer)
    return None if exponent is None else lambda value: math.pow(value, exponent)


def _shown(nits: float) -> float:
    """What an ordinary screen shows of a luminance: the same up to half of its white, ever less above."""
    relative = nits / _WHITE_NITS
    if relative <= _SHOULDER:
        return relative
    return 1 - (1 - _SHOULDER) * math.exp((_SHOULDER - relative) / (1 - _SHOULDER))


def _pq(value: float) -> float:
    """Of 10 000 nits: the curve of SMPTE ST 2084."""
    root = math.pow(value, 32 / 2523)
    return math.pow(max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root), 8192 / 1305)


def _hlg(value: float) -> float:
    """Light of the scene: the curve of ARIB STD-B67."""
    if value <= 0.5:
        return value * value / 3
    return (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12


def _xyz(column: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65_536) for value in column))


def _profile(tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (version 2, of a display) of these tags, and the two texts that must be there."""
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
