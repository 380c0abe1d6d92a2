"""Which part of a picture each variant shows, and from which other picture it is scaled down.

Variants are made from the largest scale to the smallest. Each comes from the smallest picture before it that
shows all of its part at a sufficient scale, which is cheaper than to make it from the source.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PIL import Image

from workers.scaling import Box, resize
from workers.shapes import Rect, Size, cut_size, output_size, place, reduced_size
from workers.variants import Fit, Variant


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be made: `part` of the upright source, in pixels of it, at this `size`."""

    variant: Variant
    part: Rect
    size: Size

    @property
    def scale(self) -> float:
        """Pixels of the variant for each one of the source, along the side where there are most."""
        return max(self.size[0] / self.part.width, self.size[1] / self.part.height)


@dataclass(frozen=True, slots=True)
class Step:
    """A picture that shows `part` of the upright source."""

    image: Image.Image
    part: Rect

    def suffices(self, target: Target) -> bool:
        """Whether the target can be made of it without enlarging."""
        part, wanted = self.part, target.part
        return (
            part.contains(wanted)
            and self.image.width * wanted.width >= target.size[0] * part.width
            and self.image.height * wanted.height >= target.size[1] * part.height
        )

    def make(self, target: Target) -> "Step":
        """The target, made of this picture."""
        box = map_box(target.part, self.part, self.image.size)
        return Step(resize(self.image, target.size, box), target.part)


def make_targets(variants: Iterable[Variant], size: Size, find: Callable[[Size], Rect]) -> list[Target]:
    """The targets of a source of this `size`; those of the largest scale come first.

    `find` tells for the size of a part where the source is richest.
    """
    targets = []
    for variant in variants:
        part = cut_size(variant, size)
        where = find(part) if variant.fit is Fit.SMART else place(variant.fit, size, part)
        targets.append(Target(variant, where, output_size(variant, size)))
    return sorted(targets, key=lambda target: target.scale, reverse=True)


def first_step(targets: Iterable[Target]) -> tuple[Rect, Size]:
    """The part of the source that holds all of `targets`, and the size at which it suffices for each."""
    targets = list(targets)
    part = functools.reduce(Rect.united, (target.part for target in targets))
    return part, reduced_size(part[2:], ((target.part[2:], target.size) for target in targets))


class Cascade:
    """Makes targets, in the order of `make_targets`, of a first picture and of those made before.

    At most three pictures are kept: the first one, the last one of the same part of the source, and the last
    one of all.
    """

    def __init__(self, first: Step) -> None:
        self._first = self._whole = self._last = first

    def make(self, target: Target) -> Image.Image:
        """The picture of the target, by the cheapest way."""
        enough = [step for step in (self._whole, self._last) if step.suffices(target)]
        step = min(enough, key=lambda step: step.image.width * step.image.height, default=self._first)
        self._last = step.make(target)
        if self._last.part == self._first.part:
            self._whole = self._last
        return self._last.image


def map_box(part: Rect, of: Rect, size: Size) -> Box:
    """Where `part` of the source is in a picture of this `size` that shows the part `of`."""
    left, top = part.left - of.left, part.top - of.top
    # Multiplied before it is divided, so that edges of the picture stay exactly where they are.
    return (
        left * size[0] / of.width,
        top * size[1] / of.height,
        (left + part.width) * size[0] / of.width,
        (top + part.height) * size[1] / of.height,
    )
