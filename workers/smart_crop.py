"""Finds where a picture is richest: the place of a cut that keeps most of what people look at.

A cut has the whole of one side of the picture, so only its place along the other side has to be found. Each
column (or row) of a small copy gets a value for what is in it: what differs from its surroundings, the
colours of skin, and strong colours. The cut with the largest sum is chosen; a place away from the middle has
to be worth it. This takes about a millisecond; `bench/crops.py` says how often it keeps the subject.
"""

from collections.abc import Iterator
from itertools import accumulate

from PIL import Image, ImageChops, ImageFilter

from workers.encode import flatten
from workers.shapes import Rect, Size

# Found by trying: with these, most of the subjects of `bench/crops.py` and of photos were kept.
_CONTRAST, _SKIN, _COLOUR = 3.0, 2.0, 0.3
"""How much each counts."""
_CENTRE = 0.3
"""Share of all that is in the picture for which the cut would be moved by the whole length of the side."""
_COMMON = 0.5
"""Share of the poorest column's value that is taken off all: it is the picture's background."""
_SURROUNDINGS = 5
"""Radius of the surroundings, in pixels of the small copy."""
_PLACES = 128
"""Places that are compared, beside the first one."""
_GREY = (128, 128, 128)
"""What shows through transparent parts."""
# Skin of all tones has about the same chrominance (YCbCr); beyond 21 from it nothing is counted.
_SKIN_CB = [max(0, 255 - 12 * abs(value - 110)) for value in range(256)]
_SKIN_CR = [max(0, 255 - 12 * abs(value - 152)) for value in range(256)]
_SKIN_Y = [255 * (value >= 50) for value in range(256)]


def find_richest(small: Image.Image, size: Size, part: Size) -> Rect:
    """Where a part of this size, which has the whole of one side, is richest in a picture of this `size`.

    `small` is a small copy of the picture, upright and in sRGB. The result depends on nothing but that.
    """
    room = size[0] - part[0], size[1] - part[1]
    axis = 0 if room[0] >= room[1] else 1
    values = _values_along(small, axis)
    sums = [0.0, *accumulate(values)]

    def sum_up_to(place: float) -> float:
        whole = min(len(values) - 1, int(place))
        return sums[whole] + (place - whole) * values[whole]

    length = len(values) * part[axis] / size[axis]
    best, best_score = 0, float("-inf")
    for place in range(_PLACES + 1):
        start = (len(values) - length) * place / _PLACES
        from_middle = abs(place / _PLACES - 0.5) * room[axis] / size[axis]
        score = (sum_up_to(start + length) - sum_up_to(start)) / (sums[-1] or 1.0) - _CENTRE * from_middle
        if score > best_score:
            best, best_score = place, score
    offset = room[axis] * best // _PLACES
    return Rect(offset, 0, *part) if axis == 0 else Rect(0, offset, *part)


def _values_along(small: Image.Image, axis: int) -> list[float]:
    """The value of each column (axis 0) or row (axis 1), less what all of them have."""
    length = small.size[axis]
    values = [0.0] * length
    for weight, layer in _layers(flatten(small, _GREY).convert("RGB")):
        means = layer.convert("F").resize((length, 1) if axis == 0 else (1, length), Image.Resampling.BOX)
        for index in range(length):
            mean = means.getpixel((index, 0) if axis == 0 else (0, index))
            assert isinstance(mean, float)  # noqa: S101 (narrows the type: the mode has one channel)
            values[index] += weight * mean
    common = _COMMON * min(values)
    return [value - common for value in values]


def _layers(rgb: Image.Image) -> Iterator[tuple[float, Image.Image]]:
    """What is counted, as grey pictures, with the weight of each."""
    surroundings = rgb.filter(ImageFilter.GaussianBlur(_SURROUNDINGS))
    red, green, blue = ImageChops.difference(rgb, surroundings).split()
    yield _CONTRAST, ImageChops.lighter(ImageChops.lighter(red, green), blue)
    light, cb, cr = rgb.convert("YCbCr").split()
    chrominance = ImageChops.multiply(cb.point(_SKIN_CB), cr.point(_SKIN_CR))
    yield _SKIN, ImageChops.multiply(chrominance, light.point(_SKIN_Y))
    _, saturation, brightness = rgb.convert("HSV").split()
    yield _COLOUR, ImageChops.multiply(saturation, brightness)
