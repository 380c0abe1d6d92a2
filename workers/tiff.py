"""Decodes the kinds of TIFF that Pillow shows wrongly or refuses, and finds the picture among several."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from workers import libtiff
from workers.adobe_rgb import ADOBE_RGB, names_adobe_rgb
from workers.colour import encode_light, to_srgb
from workers.failures import JobError
from workers.samples import Scale, White, read_floats, read_integers, scale_floats, scale_integers
from workers.tiff_directory import Directory, Tag, find_picture
from workers.tiff_layout import Alpha, Photometric, SampleLayout

_RAW = (Photometric.COLOUR_FILTER_ARRAY, Photometric.LINEAR_RAW)
_WITH_ALPHA = {
    ("L", Alpha.PREMULTIPLIED): "La",
    ("L", Alpha.UNASSOCIATED): "LA",
    ("RGB", Alpha.PREMULTIPLIED): "RGBa",
    ("RGB", Alpha.UNASSOCIATED): "RGBA",
}
_LARGEST_INTEGER = 2**32 - 1
_PLAIN = Scale()
_ICCLAB = Scale(256)
_CIELAB_COLOUR = Scale(256, 128, signed=True)
"""For a* and b*: in Pillow's mode LAB their zero is 128."""

Info = dict[str | tuple[int, int], object]


@dataclass(frozen=True, slots=True)
class TiffPicture:
    """The picture of a TIFF file that is to be shown."""

    path: Path
    directory: Directory
    head: bytes
    """The header of a file that begins with this picture; empty if this one does."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return self.directory.number(Tag.WIDTH), self.directory.number(Tag.HEIGHT)

    @property
    def orientation(self) -> int:
        """The orientation that is to be applied: 1 to 8 in a valid file."""
        return self.directory.number(Tag.ORIENTATION, 1)

    @property
    def mode(self) -> str:
        """A mode, of Pillow or of `workers.memory`, that tells what is held while it is decoded."""
        layout = self._layout
        if layout.is_readable() and layout.needs_floats:
            return "F" * len(layout.wanted_channels)
        is_converted = layout.is_readable() and layout.alpha and layout.mode in ("CMYK", "LAB")
        return "CMYKA" if is_converted else "PLANES"

    def is_for_pillow(self) -> bool:
        """Whether Pillow reads this picture, or refuses it for good reason."""
        if self.directory.big and self.directory.order == ">":
            return False
        return not self._layout.is_readable() or self._layout.is_for_pillow()

    def decode(self) -> Image.Image:
        """The picture with 8 bits a channel, and its profile in `info`; raises JobError."""
        profile = self.directory.entries.get(Tag.PROFILE, (0, b""))[1]
        if not profile and self._is_adobe_rgb():
            profile = ADOBE_RGB
        info: Info = {"icc_profile": profile} if profile else {}
        with libtiff.open_tiff(self.path, self.directory.offset) as reader:
            if self._layout.is_readable():
                return self._decode_samples(reader, info)
            image = reader.read_rgba(self.size, self.orientation)
        image.info |= info
        return image

    @property
    def _layout(self) -> SampleLayout:
        return SampleLayout(self.directory)

    def _is_adobe_rgb(self) -> bool:
        exif = Image.Exif()
        with self.path.open("rb") as file:
            try:
                exif.load_from_fp(file, self.directory.offset)
            except MemoryError:
                raise
            except Exception:  # broken metadata must not make the picture fail
                return False
            return names_adobe_rgb(exif)

    def _decode_samples(self, reader: libtiff.TiffReader, info: Info) -> Image.Image:
        layout = self._layout
        wanted = layout.wanted_channels
        planes = {index: Image.new("F" if layout.needs_floats else "L", self.size) for index in wanted}
        if layout.in_planes:
            for index, plane in planes.items():
                self._read_plane(reader, index, {index: plane})
        else:
            self._read_plane(reader, 0, planes)
        colours = [planes.pop(index) for index in wanted[: len(layout.mode)]]
        alpha = list(planes.values())
        if layout.is_float:
            white, info = _find_white(info)
            colours = scale_floats(colours, white)
            alpha = [scale_floats([plane])[0] for plane in alpha]
        elif layout.needs_floats:
            colours = scale_integers(colours, _LARGEST_INTEGER)
            alpha = [scale_integers([plane], _LARGEST_INTEGER)[0] for plane in alpha]
        if layout.photometric == Photometric.WHITE_IS_ZERO:
            colours = [ImageChops.invert(colours[0])]
        return _merge(layout, colours, alpha, info)

    def _read_plane(self, reader: libtiff.TiffReader, number: int, channels: dict[int, Image.Image]) -> None:
        """Read a plane of the file (0, if there is but one) into the pictures of its channels."""
        layout = self._layout
        together = 1 if layout.in_planes else layout.channels
        for piece in self._read_pieces(reader, number if layout.in_planes else 0, together):
            for channel, image in channels.items():
                index = 0 if layout.in_planes else channel
                image.paste(_read_samples(layout, piece, channel, index, together), (piece.x, piece.y))

    def _read_pieces(self, reader: libtiff.TiffReader, plane: int, together: int) -> Iterator[libtiff.Piece]:
        pixel_bits = self._layout.bits * together
        width, height = self.directory.number(Tag.TILE_WIDTH), self.directory.number(Tag.TILE_HEIGHT)
        if not width or not height:
            return reader.read_rows(self.size, -(-self.size[0] * pixel_bits // 8), plane)
        tile_bytes = height * -(-width * pixel_bits // 8)
        return reader.read_tiles(self.size, (width, height, tile_bytes), plane)


def read_tiff(path: Path) -> TiffPicture | None:
    """The picture in the TIFF file `path` that is to be shown; None if its directories cannot be read.

    Raises JobError if it is the raw data of a camera.
    """
    try:
        with path.open("rb") as file:
            directory, head = find_picture(file)
    except struct.error:
        return None
    if directory.number(Tag.PHOTOMETRIC) in _RAW:
        raise JobError("undecodable", "The file is the raw picture of a camera, which is not decoded here.")
    return TiffPicture(path, directory, head)


def _find_white(info: Info) -> tuple[White, Info]:
    """What floats mean in a picture with this `info`, and its `info` once they have 8 bits."""
    icc = info.get("icc_profile")
    if not isinstance(icc, bytes):
        return White.UNKNOWN, info
    encoded = encode_light(icc)
    return (White.STATED, info) if encoded is None else (White.LIGHT, {**info, "icc_profile": encoded})


def _read_samples(
    layout: SampleLayout, piece: libtiff.Piece, channel: int, index: int, together: int
) -> Image.Image:
    """The samples of `channel` in a piece; they are at `index` of so many that are `together`."""
    size = piece.width, piece.height
    if layout.needs_floats:
        return read_floats(piece.samples, size, layout.bits, index, together, floating=layout.is_float)
    has_sign = layout.photometric == Photometric.CIELAB and channel in (1, 2)
    scale = _PLAIN
    if has_sign:
        scale = _CIELAB_COLOUR
    elif layout.photometric == Photometric.ICCLAB and channel < len(layout.mode):
        scale = _ICCLAB
    image = read_integers(piece.samples, size, layout.bits, index, together, scale)
    return image.point([value ^ 128 for value in range(256)]) if has_sign and layout.bits == 8 else image


def _merge(
    layout: SampleLayout, colours: list[Image.Image], alpha: list[Image.Image], info: Info
) -> Image.Image:
    """One picture of these channels, with `info`; in sRGB if there is no mode for its colours with alpha."""
    mode = _WITH_ALPHA.get((layout.mode, layout.alpha))
    if mode is not None or not alpha:
        image = Image.merge(mode or layout.mode, [*colours, *alpha])
        image.info |= info
        return image
    if layout.alpha is Alpha.PREMULTIPLIED:
        colours = [Image.merge("La", (each, *alpha)).convert("LA").getchannel("L") for each in colours]
    image = to_srgb(Image.merge(layout.mode, colours), info)
    image.putalpha(alpha[0])
    return image
