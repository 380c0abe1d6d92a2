"""Scaling by LANCZOS, with SIMD where that is to be had: decoding aside, it is most of the work on a photo.

`cykooz_resizer` (the crate fast_image_resize) takes a fifth of Pillow's time for what is the same to within
rounding. It sees no byte of a file: it reads pixels where Pillow keeps them, by the layout of Pillow's
memory. So it serves those versions of Pillow whose layout it was tried with, and for others Pillow scales.
"""

from PIL import Image
from PIL import __version__ as pillow_version

try:
    import cykooz_resizer as simd
except ImportError:  # there is no wheel of it for this kind of machine
    simd = None

_LAYOUTS = ("12", "13")
_MODES = ("L", "RGB", "RGBA", "CMYK")
_LONG = 100_000
"""Side in pixels from which on averages come first: the weights take 48 bytes for every pixel of a side."""
_LEFT = 16

_RESIZER, _LANCZOS = None, None
if simd is not None and pillow_version.partition(".")[0] in _LAYOUTS:
    # Given no pool of threads it works in the caller's: a job has one processor.
    _RESIZER = simd.Resizer()
    _LANCZOS = simd.ResizeOptions(simd.ResizeAlg.convolution(simd.FilterType.lanczos3))

SIMD = _RESIZER is not None
"""Whether it is to be had here."""


def scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image` at exactly `size` in pixels, colours weighed by alpha; itself where it has that size."""
    if image.size == size:
        return image
    image = _averaged(image, size)
    if _RESIZER is None or image.mode not in _MODES:
        return image.resize(size, Image.Resampling.LANCZOS)
    # Of no colour: every pixel is about to be written.
    made = Image.new(image.mode, size, None)
    _RESIZER.resize_pil(image, made, _LANCZOS)
    return made


def _averaged(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image`, where a side is very long, at some 16 times the wanted one, by the mean of whole blocks.

    A line of 100 million pixels is an image, too, and may not cost gigabytes.
    """
    across, down = (
        max(1, side // (_LEFT * wanted)) if side > _LONG else 1
        for side, wanted in zip(image.size, size, strict=True)
    )
    return image if across == down == 1 else image.reduce((across, down))
