"""ICC profiles for colours that a file names by code points (ITU-T H.273, "CICP").

HEIC and AVIF have the code points in a box of type nclx, PNG in a chunk cICP. Colours that are close enough
to sRGB need no profile.
"""

import math
import struct
from collections.abc import Callable
from functools import lru_cache

from workers.png_chunks import read_chunks

Codes = tuple[int, int]
"""The code points of the primaries and of the transfer characteristics."""

# The XYZ values of red, green and blue, adapted to D50, the white point of ICC profiles.
_PRIMARIES = {
    1: ((0.43607, 0.22250, 0.01393), (0.38506, 0.71688, 0.09710), (0.14308, 0.06062, 0.71417)),
    9: ((0.67346, 0.27903, -0.00193), (0.16566, 0.67534, 0.02998), (0.12510, 0.04563, 0.79716)),
    12: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
# Unspecified ones, and those of standard-definition television, which are close to sRGB.
_PRIMARIES |= dict.fromkeys((2, 5, 6, 7), _PRIMARIES[1])
_PRIMARIES[11] = _PRIMARIES[12]  # DCI-P3 and Display P3: photos that name the former mean the latter's white
_SRGB, _PQ, _HLG = 13, 16, 18
# sRGB, and the curves of video cameras: viewers show pictures that name these as sRGB.
_LIKE_SRGB = (1, 2, 6, 13, 14, 15)
_COLUMN_TAGS = (b"rXYZ", b"gXYZ", b"bXYZ")
_WHITE_NITS = 203
"""Luminance of diffuse white in a picture of high dynamic range, in cd/m2 (ITU-R BT.2408)."""
_CICP_BYTES = 16
_SHOULDER = 0.5
"""Share of white above which tone mapping compresses."""
_CURVE_POINTS = 1024


def read_png_codes(head: bytes) -> Codes | None:
    """The code points in the chunk cICP of the PNG file that begins with `head`; None without that chunk."""
    for kind, whole in read_chunks(head):
        if kind == b"cICP" and len(whole) == _CICP_BYTES:
            return whole[8], whole[9]
        if kind == b"IDAT":
            break
    return None


def read_box_codes(head: bytes) -> Codes | None:
    """The code points in the first nclx box of the AVIF file that begins with `head`; None without one."""
    at = head.find(b"\0\0\0\x13colrnclx")
    return None if at < 0 or at + 16 > len(head) else struct.unpack_from(">HH", head, at + 12)


@lru_cache(maxsize=8)
def make_profile(codes: Codes) -> bytes | None:
    """An ICC profile of these colours; None if they are sRGB, as far as can be seen, or unknown."""
    primaries, transfer = codes
    columns = _PRIMARIES.get(primaries)
    light = _transfer_function(transfer)
    if columns is None or light is None or (columns is _PRIMARIES[1] and transfer in _LIKE_SRGB):
        return None
    samples = [round(65_535 * light(step / (_CURVE_POINTS - 1))) for step in range(_CURVE_POINTS)]
    curve = b"curv" + bytes(4) + struct.pack(f">I{_CURVE_POINTS}H", _CURVE_POINTS, *samples)
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve) | {b"wtpt": _xyz_tag((0.9642, 1.0, 0.8249))}
    tags |= {name: _xyz_tag(column) for name, column in zip(_COLUMN_TAGS, columns, strict=True)}
    return _build_profile(tags)


def _transfer_function(transfer: int) -> Callable[[float], float] | None:
    """The function from a value (0 to 1) to linear light (0 to 1); None if it is unknown."""
    if transfer in _LIKE_SRGB:
        return lambda value: value / 12.92 if value <= 0.04045 else math.pow((value + 0.055) / 1.055, 2.4)
    if transfer == _PQ:
        return lambda value: _tone_map(10_000 * _pq(value))
    if transfer == _HLG:
        return lambda value: _tone_map(1_000 * math.pow(_hlg(value), 1.2))
    exponent = {4: 2.2, 5: 2.8, 8: 1.0}.get(transfer)
    return None if exponent is None else lambda value: math.pow(value, exponent)


def _tone_map(nits: float) -> float:
    """The light of an ordinary screen for a luminance: unchanged up to half of white, compressed above."""
    relative = nits / _WHITE_NITS
    if relative <= _SHOULDER:
        return relative
    return 1 - (1 - _SHOULDER) * math.exp((_SHOULDER - relative) / (1 - _SHOULDER))


def _pq(value: float) -> float:
    """The curve of SMPTE ST 2084 (PQ); 1 stands for 10 000 cd/m2."""
    root = math.pow(value, 32 / 2523)
    return math.pow(max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root), 8192 / 1305)


def _hlg(value: float) -> float:
    """The curve of ARIB STD-B67 (HLG), which gives the light of the scene."""
    if value <= 0.5:
        return value * value / 3
    return (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12


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
