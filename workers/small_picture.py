"""A small copy of a picture, from which its BlurHash is made and its richest part is found."""

from PIL import Image

from workers.colour import Info, to_srgb
from workers.orientation import make_upright
from workers.scaling import shrink
from workers.shapes import fit_inside

_BOX = (96, 96)


def make_small_picture(image: Image.Image, info: Info, orientation: int) -> Image.Image:
    """A decoded picture (in a mode that `to_eight_bit` returns) at about 96 pixels, upright and in sRGB."""
    size = fit_inside(image.size, _BOX)
    return make_upright(to_srgb(shrink(image, size), info), orientation)
