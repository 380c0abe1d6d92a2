"""The memory that an image will need, predicted from its header before anything is decoded."""

_RASTER = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes a pixel of Pillow's modes; all others take four."""

_DECODER = {"webp": 12, "avif": 5, "heic": 6}
"""Bytes a pixel that a decoder holds beside the raster, measured: planes, canvases, a copy to hand over."""

_COEFFICIENTS = 3
"""Bytes a pixel of a progressive JPEG, which is held whole as coefficients, at the usual subsampling."""


def predicted_bytes(
    format_: str,
    mode: str,
    size: tuple[int, int],
    side: int = 0,
    *,
    scale: int = 1,
    progressive: bool = False,
) -> int:
    """The least that an image of this `size`, of Pillow's `mode`, takes to be decoded and scaled, in bytes.

    A JPEG's decoder may shrink it to 1/`scale`. The first variant fits into `side` pixels, 0 for none: it is
    scaled across before it is scaled down, with what comes between held beside the picture. Codecs and
    scalers that run out of memory report many things, or abort, so a job that cannot fit is refused by
    this number, which gives the true reason.
    """
    pixels = size[0] * size[1]
    held = pixels * (_COEFFICIENTS if progressive else _DECODER.get(format_, 0))
    raster = pixels * _RASTER.get(mode, 4) // scale**2
    longest = max(size) // scale
    between = raster * side // longest if 0 < side < longest else 0
    return raster + max(held, between)
