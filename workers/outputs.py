"""Variants by their colour space: Display P3 for those that keep it, where the source is wider than sRGB."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from workers.background import Colour
from workers.colour import P3_PROFILE, Info, is_srgb, is_wide, to_display_p3, to_display_p3_colour, to_srgb
from workers.encode import Colours
from workers.variants import Variant


@dataclass(frozen=True, slots=True)
class Outputs:
    """Some variants, and the colour space that all of them have."""

    variants: Sequence[Variant]
    colours: Colours

    def convert(self, image: Image.Image, info: Info) -> Image.Image:
        """`image` (in a mode that `to_eight_bit` returns) in this colour space, by its file's `info`."""
        if self.colours.icc is not None:
            return to_display_p3(image, info)
        return image if image.mode == "RGB" and is_srgb(info) else to_srgb(image, info)


def group_outputs(
    variants: Sequence[Variant], image: Image.Image, info: Info, background: Colour
) -> Iterator[Outputs]:
    """Divide `variants` of a source by colour space; `image` is its picture, `background` is in sRGB."""
    in_p3 = [each for each in variants if each.p3]
    if not in_p3 or not is_wide(image.mode, info):
        yield Outputs(variants, Colours(background))
        return
    yield Outputs(in_p3, Colours(to_display_p3_colour(background), P3_PROFILE))
    in_srgb = [each for each in variants if not each.p3]
    if in_srgb:
        yield Outputs(in_srgb, Colours(background))
