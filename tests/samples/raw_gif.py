"""GIF files put together by hand: frames of one colour, anywhere on the canvas, with any disposal."""

import struct
from dataclasses import dataclass

from tests.samples.picture import BLUE, GREEN, RED, YELLOW

PALETTE = (RED, GREEN, BLUE, YELLOW)
_COLOUR_BITS = 7
_CLEAR, _END = 1 << _COLOUR_BITS, (1 << _COLOUR_BITS) + 1
_PIXELS_PER_CLEAR = 100
"""Fewer than make the codes longer than a byte."""


@dataclass(frozen=True, slots=True)
class GifFrame:
    """A frame that fills `box` (left, top, width, height) with a colour of `PALETTE`."""

    box: tuple[int, int, int, int]
    colour: int
    disposal: int | None = None
    """None leaves out the extension that states it."""
    transparent: int | None = None


def raw_gif(size: tuple[int, int], *frames: GifFrame) -> bytes:
    """A GIF with this canvas, whose background is the first colour of `PALETTE`."""
    palette = b"".join(bytes(colour) for colour in PALETTE)
    data = b"GIF89a" + struct.pack("<HHBBB", *size, 0xF0 | _COLOUR_BITS - 1, 0, 0)
    data += palette.ljust(3 << _COLOUR_BITS, b"\0")
    return data + b"".join(_pack(frame) for frame in frames) + b";"


def _pack(frame: GifFrame) -> bytes:
    control = b""
    if frame.disposal is not None or frame.transparent is not None:
        flags = (frame.disposal or 0) << 2 | (frame.transparent is not None)
        control = b"!\xf9\x04" + struct.pack("<BHB", flags, 10, frame.transparent or 0) + b"\0"
    pixels = bytes((frame.colour,)) * (frame.box[2] * frame.box[3])
    codes = b"".join(
        bytes((_CLEAR,)) + pixels[at : at + _PIXELS_PER_CLEAR]
        for at in range(0, len(pixels), _PIXELS_PER_CLEAR)
    ) + bytes((_END,))
    blocks = b"".join(
        bytes((len(codes[at : at + 255]),)) + codes[at : at + 255] for at in range(0, len(codes), 255)
    )
    return control + b"," + struct.pack("<HHHHB", *frame.box, 0) + bytes((_COLOUR_BITS,)) + blocks + b"\0"
