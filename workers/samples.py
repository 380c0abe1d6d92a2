"""Makes pictures of one channel with 8 bits from samples of any depth: integers and floats."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from PIL import Image

from workers.icc import srgb_value

_DEEP_WHITE = 65_535
_RAW_FLOATS = {(32, False): "F;32N", (32, True): "F;32NF", (64, True): "F;64NF"}
"""Pillow's names of samples that it reads as floats, by their bits and whether they are floats themselves."""
_ARRAY_CODES = {32: "I", 64: "Q"}
_SHORT_FLOATS = {16: (13, 2.0**112, 0x7C), 24: (7, 2.0**64, 0x7F)}
"""By how many bits a short float is shifted to become one of 32 bits, by what that has to be multiplied, and
the first byte of infinity: IEEE 754 for 16 bits, and TIFF Technical Note 3 for 24."""
_LARGEST_INTEGERS = (255, 65_535, 2**24 - 1)
_LARGEST_FLOATS = (1.0, 255.0, 65_535.0)
_EXACT = [(value + 128) // 257 for value in range(65_536)]
"""The value in 8 bits for each in 16."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How integers of 16 bits become 8 bits: divided by `divisor`, and then shifted by `offset`."""

    divisor: int = 257
    offset: int = 0
    signed: bool = False


def read_integers(
    samples: bytes, size: tuple[int, int], bits: int, channel: int, channels: int, scale: Scale
) -> Image.Image:
    """One of the interleaved `channels` of integers with 1 to 16, or 24, `bits`, in mode L.

    `scale` is for 16 bits; all others are scaled from the range of their bits.
    """
    if bits == 8:
        return Image.frombytes("L", size, samples[channel::channels])
    if bits == 16:
        plane = array("H", samples)[channel::channels].tobytes()
        wide = Image.frombytes("F", size, plane, "raw", "F;16NS" if scale.signed else "F;16N")
        shift = scale.offset + 0.5
        return wide.point(lambda value: value * (1 / scale.divisor) + shift).convert("L")  # which rounds down
    if bits == 24:  # libtiff has exchanged their bytes if need be, and the highest is the last
        return Image.frombytes("L", size, samples[3 * channel + 2 :: 3 * channels])
    return _read_packed(samples, size, bits, channel, channels)


def read_floats(
    samples: bytes, size: tuple[int, int], bits: int, channel: int, channels: int, *, floating: bool
) -> Image.Image:
    """One of the interleaved `channels` in mode F: floats of 16, 24, 32 or 64 bits, or integers of 32."""
    if floating and bits in _SHORT_FLOATS:
        step = bits // 8
        planes = [samples[step * channel + byte :: step * channels] for byte in range(step)]
        return _widen_floats(planes, size, *_SHORT_FLOATS[bits])
    plane = array(_ARRAY_CODES[bits], samples)[channel::channels].tobytes()
    return Image.frombytes("F", size, plane, "raw", _RAW_FLOATS[bits, floating])


def scale_integers(planes: Sequence[Image.Image], largest: int) -> list[Image.Image]:
    """Planes of integers in mode F with 8 bits: white is the largest value of the usual depth that holds all.

    `largest` is that of integers with 32 bits, which may have a sign.
    """
    brightest = max(_brightest(plane) for plane in planes)
    white = next((white for white in _LARGEST_INTEGERS if brightest <= white), largest)
    return [_to_eight_bit(plane, white, _EXACT) for plane in planes]


class White(Enum):
    """What floats of the value 1 are, and what those below."""

    UNKNOWN = auto()
    """To be found out from the values."""
    STATED = auto()
    """White; a profile says what the others are."""
    LIGHT = auto()
    """White; the others are linear light, which the curve of sRGB is to be applied to."""


def scale_floats(planes: Sequence[Image.Image], white: White = White.UNKNOWN) -> list[Image.Image]:
    """Planes of floats in mode F with 8 bits.

    Where nothing is known, white is 1. If most values that are not black lie above, they are on another
    scale, and white is 255, 65 535, or the brightest of them. If only some do, it is one of high dynamic
    range: these are highlights, which become white, and the others are linear light. Values up to 1 are taken
    to be those of sRGB, divided, as programs write them.
    """
    brightest = max(_brightest(plane) for plane in planes)
    if white is White.STATED or (white is White.UNKNOWN and brightest <= 1):
        return [_to_eight_bit(plane, 1.0, _EXACT) for plane in planes]
    if white is White.LIGHT or _has_highlights(planes):
        return [_to_eight_bit(plane, 1.0, _light_table()) for plane in planes]
    largest = next((largest for largest in _LARGEST_FLOATS if brightest <= largest), brightest)
    return [_to_eight_bit(plane, largest, _EXACT) for plane in planes]


def _to_eight_bit(plane: Image.Image, white: float, table: list[int]) -> Image.Image:
    """`plane` with 8 bits, by a `table` for values from 0 to white in 65 536 steps; all above are white."""
    deep = plane.point(lambda value: value * (_DEEP_WHITE / white) + 0.5).convert("I")
    shown = deep.point(table, "L")
    # Numbers too large for integers, which became negative ones.
    is_white = plane.point(lambda value: value * (255 / white) + 0).convert("L").point([0] * 255 + [255])
    shown.paste(255, mask=is_white)
    return shown


@lru_cache
def _light_table() -> list[int]:
    """The value of sRGB for each linear light, from 0 to 1 in 65 536 steps."""
    return [math.floor(255 * srgb_value(light / _DEEP_WHITE) + 0.5) for light in range(_DEEP_WHITE + 1)]


def _has_highlights(planes: Sequence[Image.Image]) -> bool:
    """Whether at most half of all values that are not black are above 1."""
    above = below = 0
    for plane in planes:
        counts = plane.point(lambda value: value * 254 + 0).convert("L").histogram()
        above, below = above + counts[255], below + sum(counts[1:255])
    return above <= below


def _brightest(plane: Image.Image) -> float:
    _, brightest = plane.getextrema()
    assert isinstance(brightest, int | float)  # noqa: S101 (narrows the type: there is one channel)
    return brightest if math.isfinite(brightest) else _LARGEST_FLOATS[-1]


def _read_packed(
    samples: bytes, size: tuple[int, int], bits: int, channel: int, channels: int
) -> Image.Image:
    """One channel of samples that are not whole bytes: the highest bit is first, a row begins at a byte.

    The upper 8 bits of a sample lie in two adjacent bytes. A group of some bytes holds a whole number of
    pixels, and what lies at the same place in each group is computed at once.
    """
    width, height = size
    pixel_bits = bits * channels
    group_bytes = math.lcm(pixel_bits, 8) // 8
    group_pixels = group_bytes * 8 // pixel_bits
    groups = -(-width // group_pixels)
    rows = Image.frombytes("L", (len(samples) // height, height), samples)
    padded = rows.crop((0, 0, groups * group_bytes, height)).tobytes() + b"\0"
    kept = min(bits, 8)
    result = bytearray(groups * group_pixels * height)
    for pixel in range(group_pixels):
        first, shift = divmod(pixel * pixel_bits + channel * bits, 8)
        upper, lower = _shift_tables(shift, kept)
        high = padded[first:-1:group_bytes].translate(upper)
        low = padded[first + 1 :: group_bytes][: len(high)].translate(lower)
        value = int.from_bytes(high, "big") | int.from_bytes(low.ljust(len(high), b"\0"), "big")
        result[pixel::group_pixels] = value.to_bytes(len(high), "big")
    scaled = bytes(result).translate(_stretch_table(kept))
    whole = Image.frombytes("L", (groups * group_pixels, height), scaled)
    return whole.crop((0, 0, width, height))


@lru_cache
def _clip_table(infinity: int) -> bytes:
    """For each highest byte of a short float itself, 0 if it is negative, or the largest of a number."""
    return bytes(0 if value >= 0x80 else min(value, infinity - 1) for value in range(256))


@lru_cache
def _shift_tables(shift: int, kept: int) -> tuple[bytes, bytes]:
    """What two adjacent bytes add to the upper `kept` bits of a sample that begins `shift` bits into them."""
    upper = bytes((value << shift & 0xFF) >> (8 - kept) for value in range(256))
    lower = bytes((value >> (8 - shift)) >> (8 - kept) for value in range(256))
    return upper, lower


@lru_cache
def _stretch_table(bits: int) -> bytes:
    """The value in 8 bits for each in so many, at most 8."""
    return bytes(min(255, round(value * 255 / (2**bits - 1))) for value in range(256))


def _widen_floats(
    planes: list[bytes], size: tuple[int, int], shift: int, factor: float, infinity: int
) -> Image.Image:
    """Floats of 16 or 24 bits, given byte by byte from the lowest, in mode F.

    The bits of their exponents and mantissas become those of a float of 32 bits, whose exponent then has
    another bias. Negative values become 0, for nothing is darker; infinity, and what is no number, is large.
    """
    clipped = _clip_table(infinity)
    wide = bytearray(4 * len(planes[0]))
    for byte, plane in enumerate(planes):
        wide[byte::4] = plane if byte + 1 < len(planes) else plane.translate(clipped)
    shifted = Image.frombytes("I", size, bytes(wide)).point(lambda value: value * (1 << shift) + 0)
    return Image.frombytes("F", size, shifted.tobytes(), "raw", "F;32NF").point(lambda v: v * factor + 0)
