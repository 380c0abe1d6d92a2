"""ICC profiles for colours that a file names by code points (ITU-T H.273, "CICP").

HEIC and AVIF have the code points in a box of type nclx, PNG in a chunk cICP. Colours that are close enough
to sRGB need no profile.
"""

import math
import struct
from collections.abc import Callable
from functools import lru_cache

from workers.boxes import has_primary, read_primary_properties
from workers.icc import P3_COLUMNS, SRGB_COLUMNS, make_rgb_profile, srgb_light
from workers.png_chunks import read_chunks

Codes = tuple[int, int]
"""The code points of the primaries and of the transfer characteristics."""

# The XYZ values of red, green and blue, adapted to D50, the white point of ICC profiles.
_PRIMARIES = {
    1: SRGB_COLUMNS,
    9: ((0.67346, 0.27903, -0.00193), (0.16566, 0.67534, 0.02998), (0.12510, 0.04563, 0.79716)),
    12: P3_COLUMNS,
}
# Unspecified ones, and those of standard-definition television, which are close to sRGB.
_PRIMARIES |= dict.fromkeys((2, 5, 6, 7), _PRIMARIES[1])
_PRIMARIES[11] = _PRIMARIES[12]  # DCI-P3 and Display P3: photos that name the former mean the latter's white
_SRGB, _PQ, _HLG = 13, 16, 18
# sRGB, and the curves of video cameras: viewers show pictures that name these as sRGB.
_LIKE_SRGB = (1, 2, 6, 13, 14, 15)
_WHITE_NITS = 203
"""Luminance of diffuse white in a picture of high dynamic range, in cd/m2 (ITU-R BT.2408)."""
_CICP_BYTES = 16
_SHOULDER = 0.5
"""Share of white above which tone mapping compresses."""


def read_png_codes(head: bytes) -> Codes | None:
    """The code points in the chunk cICP of the PNG file that begins with `head`; None without that chunk."""
    for kind, whole in read_chunks(head):
        if kind == b"cICP" and len(whole) == _CICP_BYTES:
            return whole[8], whole[9]
        if kind == b"IDAT":
            break
    return None


def read_box_codes(head: bytes) -> Codes | None:
    """The code points of the primary picture of the AVIF file that begins with `head`; None without any.

    A file without a primary picture is an animation; of that, the first code points count.
    """
    for kind, body in read_primary_properties(head):
        if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 8:
            return struct.unpack_from(">HH", body, 4)
    if has_primary(head):
        return None
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
    return make_rgb_profile(columns, light)


def _transfer_function(transfer: int) -> Callable[[float], float] | None:
    """The function from a value (0 to 1) to linear light (0 to 1); None if it is unknown."""
    if transfer in _LIKE_SRGB:
        return srgb_light
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
