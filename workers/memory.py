"""Predicts from an image's header the memory that decoding and scaling it will need."""

_BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""In Pillow's modes; all others take four."""

_DECODER_BYTES_PER_PIXEL = {"webp": 12, "avif": 5, "heic": 6}
"""Held by the decoder beside Pillow's pixels (planes, canvases, a copy to hand over), as measured."""

_COEFFICIENT_BYTES_PER_PIXEL = 3
"""Of a progressive JPEG, all coefficients of which are held at once; with the usual subsampling."""


def predict_bytes(
    format_: str,
    mode: str,
    size: tuple[int, int],
    side: int = 0,
    *,
    scale: int = 1,
    progressive: bool = False,
) -> int:
    """The least memory in bytes with which an image of this `size` and Pillow `mode` is decoded and scaled.

    A JPEG's decoder may reduce it to 1/`scale`. The first variant fits into `side` pixels (0: none is made).
    It is scaled horizontally and then vertically; the intermediate picture is held beside the decoded one.

    Codecs that run out of memory report all kinds of errors, or abort. A task that cannot fit is refused by
    this number instead, so that the client learns the true reason.
    """
    pixels = size[0] * size[1]
    decoder = pixels * (
        _COEFFICIENT_BYTES_PER_PIXEL if progressive else _DECODER_BYTES_PER_PIXEL.get(format_, 0)
    )
    decoded = pixels * _BYTES_PER_PIXEL.get(mode, 4) // scale**2
    longest = max(size) // scale
    intermediate = decoded * side // longest if 0 < side < longest else 0
    return decoded + max(decoder, intermediate)
