"""What the samples of a TIFF picture are, and whether Pillow reads them."""

from dataclasses import dataclass
from enum import IntEnum

from PIL import TiffImagePlugin

from workers.tiff_directory import Directory, Tag


class Photometric(IntEnum):
    """What the samples of a pixel mean (PhotometricInterpretation)."""

    WHITE_IS_ZERO = 0
    BLACK_IS_ZERO = 1
    RGB = 2
    SEPARATED = 5
    CIELAB = 8
    ICCLAB = 9
    COLOUR_FILTER_ARRAY = 32_803
    LINEAR_RAW = 34_892


class Alpha(IntEnum):
    """The kinds of alpha channel among the extra samples."""

    NONE = 0
    PREMULTIPLIED = 1
    UNASSOCIATED = 2


_MODES = {
    Photometric.WHITE_IS_ZERO: "L",
    Photometric.BLACK_IS_ZERO: "L",
    Photometric.RGB: "RGB",
    Photometric.SEPARATED: "CMYK",
    Photometric.CIELAB: "LAB",
    Photometric.ICCLAB: "LAB",
}
_UNSIGNED, _FLOAT = 1, 3
_SEPARATE = 2
_CMYK_INKS = 1
_INTEGER_BITS = (*range(1, 17), 24)
_FLOAT_BITS = (16, 24, 32, 64)
_PILLOW_BITS = (1, 2, 4, 8, 16)
_MAX_CHANNELS = 16


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """The samples of the picture that `directory` describes."""

    directory: Directory

    @property
    def photometric(self) -> int:
        """One of `Photometric`, or another number."""
        return self.directory.number(Tag.PHOTOMETRIC, -1)

    @property
    def mode(self) -> str:
        """Pillow's mode of the colours, without alpha: L, RGB, CMYK or LAB."""
        return _MODES[Photometric(self.photometric)]

    @property
    def bits(self) -> int:
        """Bits of each sample."""
        return self.directory.number(Tag.BITS, 1)

    @property
    def channels(self) -> int:
        """Samples of each pixel, those of no use here included."""
        return self.directory.number(Tag.SAMPLES, 1)

    @property
    def is_float(self) -> bool:
        """Whether the samples are floats."""
        return self.directory.number(Tag.SAMPLE_FORMAT, _UNSIGNED) == _FLOAT

    @property
    def needs_floats(self) -> bool:
        """Whether the samples are floats, or integers of which an exact picture has to be made as floats."""
        return self.is_float or self.bits == 32

    @property
    def in_planes(self) -> bool:
        """Whether each channel is stored by itself."""
        return self.channels > 1 and self.directory.number(Tag.PLANAR, 1) == _SEPARATE

    @property
    def alpha(self) -> Alpha:
        """The kind of the alpha channel; without a tag for it, one sample more than colours is one."""
        extra = self.directory.numbers(Tag.EXTRA_SAMPLES)
        if not extra and self.channels == len(self.mode) + 1:
            return Alpha.UNASSOCIATED
        kinds = extra[: self.channels - len(self.mode)]
        return next((Alpha(kind) for kind in kinds if kind in (1, 2)), Alpha.NONE)

    @property
    def wanted_channels(self) -> list[int]:
        """The indices of the colours, and of alpha where there is one."""
        colours = list(range(len(self.mode)))
        if not self.alpha:
            return colours
        extra = self.directory.numbers(Tag.EXTRA_SAMPLES) or (self.alpha,)
        return [*colours, len(colours) + extra.index(self.alpha)]

    def is_readable(self) -> bool:
        """Whether the samples are of a kind that `workers.samples` reads."""
        directory, formats = self.directory, set(self.directory.numbers(Tag.SAMPLE_FORMAT)) or {_UNSIGNED}
        if self.photometric not in _MODES or directory.number(Tag.INK_SET, _CMYK_INKS) != _CMYK_INKS:
            return False
        if len(set(directory.numbers(Tag.BITS))) > 1 or len(formats) > 1:
            return False
        if not len(self.mode) <= self.channels <= _MAX_CHANNELS:
            return False
        if self.mode == "LAB":
            return formats == {_UNSIGNED} and self.bits in (8, 16)
        if formats == {_FLOAT}:
            return self.mode in ("L", "RGB") and self.bits in _FLOAT_BITS
        has_known_bits = self.bits in _INTEGER_BITS or (self.bits == 32 and self.mode in ("L", "RGB"))
        return formats == {_UNSIGNED} and has_known_bits

    def is_for_pillow(self) -> bool:
        """Whether Pillow reads these samples, and to the right picture.

        In separate planes it makes noise of some. It shows deep greys whose zero is white as negatives, and
        those of 12 bits nearly black. It takes integers of 32 bits for signed ones, and compressed floats for
        those of the other byte order.
        """
        bits = self.directory.numbers(Tag.BITS) or (1,)
        if len(bits) == 1:
            bits *= self.channels
        key = (
            b"II" if self.directory.order == "<" else b"MM",
            self.photometric,
            (self.directory.number(Tag.SAMPLE_FORMAT, _UNSIGNED),),
            self.directory.number(Tag.FILL_ORDER, 1),
            bits,
            self.directory.numbers(Tag.EXTRA_SAMPLES),
        )
        is_inverted = self.bits == 16 and self.photometric == Photometric.WHITE_IS_ZERO
        is_known = key in TiffImagePlugin.OPEN_INFO and self.bits in _PILLOW_BITS
        return is_known and not (is_inverted or self.in_planes or self.needs_floats)
