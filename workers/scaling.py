"""Scaling with the Lanczos filter, by SIMD instructions where available.

Apart from decoding, this is most of the work on a photo. `cykooz_resizer` (the crate fast_image_resize) takes
a fifth of Pillow's time, and its result is the same to within rounding. It reads pixels in Pillow's memory,
so it is used only with versions of Pillow whose memory layout it was tested with; otherwise Pillow scales.
"""

import math

from PIL import Image
from PIL import __version__ as pillow_version

try:
    import cykooz_resizer as simd
except ImportError:  # there is no wheel for this kind of machine
    simd = None

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture; they may lie within pixels."""

_TESTED_PILLOW_VERSIONS = ("12", "13")
_MODES = ("L", "RGB", "RGBA", "CMYK")
_LONG_SIDE = 100_000
"""Side in pixels beyond which blocks are averaged first: the filter's weights take 48 bytes a pixel of it."""
_AVERAGED_FACTOR = 16
"""How many times the wanted size a picture has after its blocks were averaged."""

_RESIZER, _LANCZOS, _BOX = None, None, None
if simd is not None and pillow_version.partition(".")[0] in _TESTED_PILLOW_VERSIONS:
    # Without a pool of threads it works in the caller's thread: a task has one processor.
    _RESIZER = simd.Resizer()
    _LANCZOS = simd.ResizeAlg.convolution(simd.FilterType.lanczos3)
    _BOX = simd.ResizeAlg.convolution(simd.FilterType.box)

HAS_SIMD = _RESIZER is not None
"""Whether SIMD is used here."""


def resize(image: Image.Image, size: tuple[int, int], box: Box | None = None) -> Image.Image:
    """`image`, or the part of it in `box`, at exactly this `size`, with colours weighted by alpha.

    Where nothing is to be scaled, pixels are not changed; `image` itself is returned if that is all of it.
    """
    if box is None or box == (0, 0, *image.size):
        if image.size == size:
            return image
        box = (0, 0, *image.size)
    whole = tuple(round(edge) for edge in box)
    if whole == box and (whole[2] - whole[0], whole[3] - whole[1]) == size:
        return image.crop(whole)
    image, box = _average_blocks(image, size, box)
    if _RESIZER is None or image.mode not in _MODES:
        return image.resize(size, Image.Resampling.LANCZOS, box)
    # Not initialised, for every pixel is written.
    made = Image.new(image.mode, size, None)
    (left, width), (top, height) = (
        _span(start, end, side) for start, end, side in zip(box[:2], box[2:], image.size, strict=True)
    )
    options = simd.ResizeOptions(_LANCZOS, crop_box=simd.CropBox(left, top, width, height))
    _RESIZER.resize_pil(image, made, options)
    return made


def shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image` reduced to about this `size` by the mean of blocks: several times faster than `resize`."""
    if _RESIZER is None or image.mode not in _MODES or max(image.size) > _LONG_SIDE:
        across, down = (max(1, side // wanted) for side, wanted in zip(image.size, size, strict=True))
        return image.reduce((across, down))
    made = Image.new(image.mode, size, None)
    _RESIZER.resize_pil(image, made, simd.ResizeOptions(_BOX))
    return made


def _span(start: float, end: float, side: int) -> tuple[float, float]:
    """Start and length of a part of a side, of which not even a rounding error lies outside."""
    start = max(0.0, start)
    length = min(end, side) - start
    return start, length if start + length <= side else math.nextafter(length, 0)


def _average_blocks(image: Image.Image, size: tuple[int, int], box: Box) -> tuple[Image.Image, Box]:
    """`image` and `box`, very long sides reduced to about 16 times the wanted length by the mean of blocks.

    Otherwise an image of one line of 100 million pixels would take gigabytes.
    """
    across, down = (
        max(1, int(end - start) // (_AVERAGED_FACTOR * wanted)) if end - start > _LONG_SIDE else 1
        for start, end, wanted in zip(box[:2], box[2:], size, strict=True)
    )
    if across == down == 1:
        return image, box
    left, top = int(box[0]), int(box[1])
    reduced = image.reduce((across, down), (left, top, math.ceil(box[2]), math.ceil(box[3])))
    moved = ((box[0] - left) / across, (box[1] - top) / down, (box[2] - left) / across, (box[3] - top) / down)
    return reduced, moved
