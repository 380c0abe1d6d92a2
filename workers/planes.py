"""A picture as JPEG and WebP store it: brightness whole, its two colour planes at half the size.

Scaling the planes costs half of scaling three whole channels; the encoder leaves out what is left out.
"""

from dataclasses import dataclass

from PIL import Image

_SUBSAMPLING = 2
_BANDS = 4


@dataclass(frozen=True, slots=True)
class Planes:
    """Luma and the two chromas of YCbCr; a chroma's pixel covers 2 x 2 of the luma's, from the top left."""

    luma: Image.Image
    blue: Image.Image
    red: Image.Image

    @classmethod
    def of(cls, image: Image.Image) -> "Planes":
        """The planes of an image in YCbCr or RGB."""
        if image.mode == "RGB":
            _, blue, red = image.reduce(_SUBSAMPLING).convert("YCbCr").split()
            return cls(image.convert("L"), blue, red)
        luma, blue, red = image.split()
        return cls(luma, blue.reduce(_SUBSAMPLING), red.reduce(_SUBSAMPLING))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.luma.size

    def resized(self, size: tuple[int, int]) -> "Planes":
        """The picture at exactly `size`, no larger than it is: luma by LANCZOS, chromas by HAMMING."""
        if size == self.size:
            return self
        halves = (_half(size[0]), _half(size[1]))
        # The last pixel of a chroma may reach past an odd edge, so it covers a little more than the luma.
        box = (
            0.0,
            0.0,
            min(self.blue.width, halves[0] * self.size[0] / size[0]),
            min(self.blue.height, halves[1] * self.size[1] / size[1]),
        )
        blue, red = (plane.resize(halves, Image.Resampling.HAMMING, box) for plane in (self.blue, self.red))
        return Planes(shrunk(self.luma, size), blue, red)

    def image(self) -> Image.Image:
        """The picture in YCbCr; an encoder that halves the chromas gets back the very ones that are here."""
        whole = (_SUBSAMPLING * self.blue.width, _SUBSAMPLING * self.blue.height)
        blue, red = (
            plane.resize(whole, Image.Resampling.NEAREST).crop((0, 0, *self.size))
            for plane in (self.blue, self.red)
        )
        return Image.merge("YCbCr", (self.luma, blue, red))


def shrunk(plane: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`plane` (L) at `size` by LANCZOS, at two thirds of the cost of having Pillow do it at once.

    Pillow computes the four bands of a pixel side by side, but L one pixel after the other. So L passes for
    CMYK: vertically four columns are a pixel, horizontally the rows of four strips are.
    """
    width, height = size
    across = -(-plane.width // _BANDS)
    padded = across * _BANDS
    columns = plane if plane.width == padded else plane.crop((0, 0, padded, plane.height))
    grouped = Image.frombuffer("CMYK", (across, plane.height), columns.tobytes(), "raw", "CMYK", 0, 1)
    rows = grouped.resize((across, height), Image.Resampling.LANCZOS).tobytes()
    deep = -(-height // _BANDS)
    # The last strips overlap where the height is no multiple of four.
    tops = [min(band * deep, height - deep) for band in range(_BANDS)]
    strips = [
        Image.frombuffer(
            "L", (plane.width, deep), rows[top * padded : (top + deep) * padded], "raw", "L", padded, 1
        )
        for top in tops
    ]
    narrow = Image.merge("CMYK", strips).resize((width, deep), Image.Resampling.LANCZOS)
    result = Image.new("L", size)
    for top, strip in zip(tops, narrow.split(), strict=True):
        result.paste(strip, (0, top))
    return result


def _half(length: int) -> int:
    return -(-length // _SUBSAMPLING)
