"""Scaling with the Lanczos filter, by SIMD instructions where available.

Apart from decoding, this is most of the work on a photo. `cykooz_resizer` (the crate fast_image_resize) takes
a fifth of Pillow's time, and its result is the same to within rounding. It reads pixels in Pillow's memory,
so it is used only with versions of Pillow whose memory layout it was tested with; otherwise Pillow scales.
"""

from PIL import Image
from PIL import __version__ as pillow_version

try:
    import cykooz_resizer as simd
except ImportError:  # there is no wheel for this kind of machine
    simd = None

_TESTED_PILLOW_VERSIONS = ("12", "13")
_MODES = ("L", "RGB", "RGBA", "CMYK")
_LONG_SIDE = 100_000
"""Side in pixels beyond which blocks are averaged first: the filter's weights take 48 bytes a pixel of it."""
_AVERAGED_FACTOR = 16
"""How many times the wanted size a picture has after its blocks were averaged."""

_RESIZER, _LANCZOS = None, None
if simd is not None and pillow_version.partition(".")[0] in _TESTED_PILLOW_VERSIONS:
    # Without a pool of threads it works in the caller's thread: a task has one processor.
    _RESIZER = simd.Resizer()
    _LANCZOS = simd.ResizeOptions(simd.ResizeAlg.convolution(simd.FilterType.lanczos3))

HAS_SIMD = _RESIZER is not None
"""Whether SIMD is used here."""


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image` at exactly this `size`, with colours weighted by alpha; `image` itself if it has that size."""
    if image.size == size:
        return image
    image = _average_blocks(image, size)
    if _RESIZER is None or image.mode not in _MODES:
        return image.resize(size, Image.Resampling.LANCZOS)
    # Not initialised, for every pixel is written.
    made = Image.new(image.mode, size, None)
    _RESIZER.resize_pil(image, made, _LANCZOS)
    return made


def _average_blocks(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image` with very long sides reduced to about 16 times the wanted length, by the mean of whole blocks.

    Otherwise an image of one line of 100 million pixels would take gigabytes.
    """
    across, down = (
        max(1, side // (_AVERAGED_FACTOR * wanted)) if side > _LONG_SIDE else 1
        for side, wanted in zip(image.size, size, strict=True)
    )
    return image if across == down == 1 else image.reduce((across, down))
