"""The arithmetic of shapes: which part of a picture a variant shows, and at what size.

Sizes are (width, height) in whole pixels, and of upright pictures. A picture is never enlarged.

* In a box with the fit `contain` the picture keeps its shape. The side that meets the box first has exactly
  the length of the box; the other one is rounded to the nearest pixel (a half up), and is at least 1.
* With a `cover` fit the largest part of the picture that has the shape of the box is cut out. It has the
  whole of one side of the picture; its other side is rounded in the same way. It is scaled down to exactly
  the box, or left as it is where it is smaller than that.
* The cut begins at a whole pixel of the picture; from the middle, an odd pixel is left over at the right or
  the bottom.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from workers.variants import Fit, Variant

Size = tuple[int, int]
"""Width and height."""

WEBP_MAX_SIDE = 16_383
"""Longest side in pixels that a WebP file can hold."""


class Rect(NamedTuple):
    """A part of a picture."""

    left: int
    top: int
    width: int
    height: int

    def contains(self, other: "Rect") -> bool:
        """Whether all of `other` is inside."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.left + self.width >= other.left + other.width
            and self.top + self.height >= other.top + other.height
        )

    def united(self, other: "Rect") -> "Rect":
        """The smallest one with both inside."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        right = max(self.left + self.width, other.left + other.width)
        bottom = max(self.top + self.height, other.top + other.height)
        return Rect(left, top, right - left, bottom - top)


def box_of(variant: Variant) -> Size:
    """The largest size that `variant` can have: its box, or as much of it as its format can hold."""
    if variant.format != "webp":
        return variant.width, variant.height
    return min(variant.width, WEBP_MAX_SIDE), min(variant.height, WEBP_MAX_SIDE)


def fit_inside(size: Size, box: Size) -> Size:
    """The size of a picture of this `size` inside `box`."""
    (width, height), (most_width, most_height) = size, box
    if width <= most_width and height <= most_height:
        return size
    # In integers: with floats the last pixel would depend on the platform.
    if width * most_height >= height * most_width:
        return most_width, max(1, _divide(height * most_width, width))
    return max(1, _divide(width * most_height, height)), most_height


def cut_size(variant: Variant, size: Size) -> Size:
    """The size of the part that `variant` shows of a picture of this `size`, in pixels of that picture."""
    if variant.fit is Fit.CONTAIN:
        return size
    (width, height), (box_width, box_height) = size, box_of(variant)
    if width * box_height >= height * box_width:
        return max(1, _divide(height * box_width, box_height)), height
    return width, max(1, _divide(width * box_height, box_width))


def output_size(variant: Variant, size: Size) -> Size:
    """The size that `variant` has of a picture of this `size`."""
    if variant.fit is Fit.CONTAIN:
        return fit_inside(size, box_of(variant))
    cut, box = cut_size(variant, size), box_of(variant)
    return box if cut[0] >= box[0] and cut[1] >= box[1] else cut


def place(fit: Fit, size: Size, part: Size) -> Rect:
    """Where a part of this size is cut out of a picture of this `size`, by a fit other than `Fit.SMART`."""
    room = size[0] - part[0], size[1] - part[1]
    left = {Fit.LEFT: 0, Fit.RIGHT: room[0]}.get(fit, room[0] // 2)
    top = {Fit.TOP: 0, Fit.BOTTOM: room[1]}.get(fit, room[1] // 2)
    return Rect(left, top, *part)


def needed_size(variants: Iterable[Variant], size: Size) -> Size:
    """The size to which a picture of this `size` may be reduced, and still suffice for each of `variants`."""
    return reduced_size(size, ((cut_size(each, size), output_size(each, size)) for each in variants))


def copy_size(variants: Sequence[Variant], size: Size) -> Size:
    """To what a picture of this `size` may be scaled down, so that `variants` made of it lose nothing."""
    needed = needed_size(variants, size)
    if all(variant.fit is Fit.CONTAIN for variant in variants):
        return needed
    # A cut of it is scaled once more, so it stays twice as large.
    return min(size[0], 2 * needed[0]), min(size[1], 2 * needed[1])


def reduced_size(size: Size, made: Iterable[tuple[Size, Size]]) -> Size:
    """The size to which a picture may be reduced of which parts, each of a size, are made at another size."""
    needed = [
        [-(-whole * wanted // part) for whole, part, wanted in zip(size, *sizes, strict=True)]
        for sizes in made
    ]
    return max(width for width, _ in needed), max(height for _, height in needed)


def _divide(numerator: int, denominator: int) -> int:
    """The quotient of two natural numbers, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)
