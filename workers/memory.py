"""Predicts from an image's header the memory that decoding and scaling it will need."""

from collections.abc import Sequence

from workers.shapes import Size, cut_size, output_size
from workers.variants import Variant

_BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
_BYTES_PER_PIXEL |= {"F": 14, "FF": 17, "FFF": 22, "FFFF": 27, "PLANES": 8, "CMYKA": 16}
"""In Pillow's modes; all others take four. Channels of floats are brought to 8 bits one by one; up to four
channels of 8 bits are merged; inks, or Lab, with alpha become colours."""

MOVING_WEBP = "webp+anim"
"""Stands for a WebP whose first frame, at least, is decoded as one of an animation."""

_DECODER_BYTES_PER_PIXEL = {"webp": 4, MOVING_WEBP: 12, "avif": 5, "heic": 6}
"""Held by the decoder beside Pillow's pixels (planes, canvases, a copy to hand over), as measured."""

FRAME_BYTES_PER_PIXEL = 8
"""Held beside the decoder's canvas while a frame becomes one of an animation: two copies of it."""

_COEFFICIENT_BYTES_PER_PIXEL = 3
"""Of a progressive JPEG, all coefficients of which are held at once; with the usual subsampling."""


def predict_bytes(
    format_: str,
    mode: str,
    size: Size,
    variants: Sequence[Variant] = (),
    *,
    scale: int = 1,
    progressive: bool = False,
) -> int:
    """The least memory in bytes with which an image of this `size` and Pillow `mode` is decoded and scaled.

    A JPEG's decoder may reduce it to 1/`scale`. `variants` are scaled horizontally and then vertically; the
    intermediate picture is held beside the decoded one.

    Codecs that run out of memory report all kinds of errors, or abort. A task that cannot fit is refused by
    this number instead, so that the client learns the true reason.
    """
    pixels = size[0] * size[1]
    decoder = pixels * (
        _COEFFICIENT_BYTES_PER_PIXEL if progressive else _DECODER_BYTES_PER_PIXEL.get(format_, 0)
    )
    bytes_per_pixel = _BYTES_PER_PIXEL.get(mode, 4)
    decoded = pixels * bytes_per_pixel // scale**2
    intermediate = bytes_per_pixel * _intermediate_pixels(size, variants, scale)
    return decoded + max(decoder, intermediate)


def _intermediate_pixels(size: Size, variants: Sequence[Variant], scale: int) -> int:
    """Pixels of the largest picture between horizontal and vertical scaling that cannot be avoided.

    The image of this stored `size` may have to be turned, so the smaller number of both ways counts.
    """
    ways = []
    for across, upright in enumerate((size, size[::-1])):
        largest = 0
        for variant in variants:
            part, made = cut_size(variant, upright), output_size(variant, upright)
            if made[across] * scale < part[across]:
                largest = max(largest, made[across] * part[1 - across] // scale)
        ways.append(largest)
    return min(ways)
