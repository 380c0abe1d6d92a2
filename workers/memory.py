"""The memory that an image will need, predicted from its header before anything is decoded."""

_RASTER = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes a pixel of Pillow's modes; all others take four."""

_DECODER = {"webp": 12, "avif": 5, "heic": 6}
"""Bytes a pixel that a decoder holds beside the raster, measured: planes, canvases, a copy to hand over."""

_COEFFICIENTS = 3
"""Bytes a pixel of a progressive JPEG, which is held whole as coefficients, at the usual subsampling."""


def predicted_bytes(
    format_: str, mode: str, size: tuple[int, int], *, scale: int = 1, progressive: bool = False
) -> int:
    """The least that decoding takes, in bytes, of an image of this `size` and of Pillow's `mode`.

    A JPEG's decoder may shrink it to 1/`scale`. Codecs that run out of memory report many things, or abort,
    so a job that cannot fit is refused by this number, which gives the true reason.
    """
    pixels = size[0] * size[1]
    held = _COEFFICIENTS if progressive else _DECODER.get(format_, 0)
    return pixels * held + pixels * _RASTER.get(mode, 4) // scale**2
