"""Open one upload by the one plugin that its bytes name, bound it by its header, decode it once."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from workers.cicp import box_codes, png_codes, profile
from workers.failures import JobError
from workers.formats import PILLOW_NAMES, SNIFF_BYTES, claimed_size, jpeg_depth, sniff
from workers.memory import predicted_bytes
from workers.png_chunks import essential
from workers.variants import fitted

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# These allocate when they are opened, pixels of this mode.
_EAGER = {"gif": "P", "webp": "RGBA"}
# These believe the length of a chunk or strip, and allocate for it, before they read.
_CREDULOUS = ("png", "tiff")
_HEADERS = 1024 * 1024
_SIDEWAYS = (5, 6, 7, 8)
# These two apply the orientation themselves while they decode.
_SELF_TURNING = ("tiff", "heic")
# The pictures of the others are no frames: pages, albums, and the second picture of a telephone's JPEG.
_ANIMATED = ("gif", "png", "webp", "avif")


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose header was read and found acceptable; nothing is decoded yet."""

    image: ImageFile.ImageFile
    format: str
    orientation: int
    frames: int
    icc: bytes | None = None
    """A profile of the colours that the file names without having one."""

    @property
    def sideways(self) -> bool:
        """Whether the pixels are stored with width and height exchanged."""
        return self.orientation in _SIDEWAYS

    @property
    def info(self) -> dict[str | tuple[int, int], Any]:
        """What the file says of its picture, or of the frame that is decoded, apart from the pixels."""
        return self.image.info | ({} if self.icc is None else {"icc_profile": self.icc})

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        width, height = self.image.size
        return (height, width) if self.sideways else (width, height)


class _Clamped(io.FileIO):
    """A file that is never asked for more than it has: some readers ask for all that a chunk claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left)) or b""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an image may be and take: pixels of all frames, bytes, for variants of up to `side` pixels."""

    max_pixels: int
    memory_bytes: int
    side: int

    def check(
        self,
        format_: str,
        mode: str,
        size: tuple[int, int],
        frames: int = 1,
        *,
        scale: int = 1,
        progressive: bool = False,
    ) -> None:
        """Raise JobError for an image that is out of these bounds, or has no pixels at all."""
        width, height = size
        if width < 1 or height < 1:
            raise JobError("undecodable", "The image has no pixels.")
        if width * height * frames > self.max_pixels:
            times = f" x {frames} frames" if frames > 1 else ""
            raise JobError(
                "too-many-pixels",
                f"The image has {width} x {height}{times} pixels, and only {self.max_pixels} are accepted.",
            )
        needed = predicted_bytes(format_, mode, size, self.side, scale=scale, progressive=progressive)
        if needed > self.memory_bytes:
            raise JobError("too-much-memory")


@contextlib.contextmanager
def opened(path: Path, bounds: Bounds, *, animated: bool = False) -> Iterator[Opened]:
    """Open `path` and read its header.

    Raises JobError: `undecodable` for what no allowed plugin takes, `too-many-pixels` when width x height
    (x frames, where `animated` says that all will be decoded) is out of bounds, `too-much-memory` when
    decoding would be.
    """
    with path.open("rb") as start:
        head = start.read(SNIFF_BYTES)
    format_ = sniff(head)
    if format_ is None:
        raise JobError("undecodable", "The file is of no image format that is accepted here.")
    if format_ in _EAGER:
        bounds.check(format_, _EAGER[format_], claimed_size(format_, head) or (0, 0))
    # The size check is ours: Pillow's own knows nothing of frames and only warns at first. But it looks at
    # each frame of a GIF before memory is taken for it, which nothing here can.
    Image.MAX_IMAGE_PIXELS = bounds.max_pixels if format_ == "gif" else None
    with contextlib.ExitStack() as closing:
        image = _plugin(path, format_, closing)
        frames = _frames(image) if animated and format_ in _ANIMATED else 1
        scale, progressive = _scale(image, bounds.side), "progressive" in image.info
        bounds.check(format_, image.mode, image.size, frames, scale=scale, progressive=progressive)
        if format_ == "png":
            # Its orientation may follow its pixels; a failure to read these must not pass for one of that.
            try:
                image.load()
            except (OSError, SyntaxError, ValueError):
                image, frames = _essential_png(path, closing), 1
                image.load()
        orientation = 1 if format_ in _SELF_TURNING else _orientation(image)
        yield Opened(image, format_, orientation, frames, _named_colours(image, format_, path))


def decode(source: Opened, side: int) -> Image.Image:
    """Decode the first frame, not yet upright, at a scale that still holds a variant of side `side`."""
    if source.format == "jpeg":
        # Asked for the box of the variant itself: a square would keep the decoder from scaling by as much.
        source.image.draft(None, fitted(*source.image.size, side))
    source.image.load()
    # The file's own image changes as its frames are gone through.
    return source.image.copy() if source.frames > 1 else source.image


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """`image` turned by its EXIF `orientation` (1 to 8; any other is upright already)."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _plugin(path: Path, format_: str, closing: contextlib.ExitStack) -> ImageFile.ImageFile:
    """The file as its plugin opens it, until `closing`: header read, nothing decoded."""
    file = closing.enter_context(_Clamped(path)) if format_ in _CREDULOUS else path
    try:
        image = closing.enter_context(Image.open(file, formats=[PILLOW_NAMES[format_]]))
    except (UnidentifiedImageError, ValueError):
        if format_ == "png":
            return _essential_png(path, closing)
        raise JobError("undecodable", _complaint(path, format_)) from None
    if format_ in _CREDULOUS:
        # Where pixels lie as Pillow holds them, it maps them into memory, if it knows where from.
        image.filename = str(path)
    return image


def _essential_png(path: Path, closing: contextlib.ExitStack) -> ImageFile.ImageFile:
    """A PNG that its plugin refused, for the sake of its picture alone."""
    try:
        return closing.enter_context(Image.open(io.BytesIO(essential(path.read_bytes())), formats=["PNG"]))
    except (UnidentifiedImageError, ValueError):
        raise JobError("undecodable", _complaint(path, "png")) from None


def _complaint(path: Path, format_: str) -> str:
    """Why the plugin did not take the file, as far as can be told."""
    if format_ == "jpeg":
        with path.open("rb") as file:
            depth = jpeg_depth(file.read(_HEADERS))
        if depth not in (None, 8):
            return f"The JPEG has {depth} bits a channel, and only those with 8 can be decoded."
    return f"The file begins like {format_.upper()} but is broken, or of a kind that cannot be decoded."


def _named_colours(image: Image.Image, format_: str, path: Path) -> bytes | None:
    """A profile of the colours that the file names by code points; a PNG's go before its own profile."""
    codes = None
    if format_ == "png" or (format_ == "avif" and "icc_profile" not in image.info):
        with path.open("rb") as file:
            codes = (png_codes if format_ == "png" else box_codes)(file.read(_HEADERS))
    elif format_ == "heic" and "icc_profile" not in image.info:
        stated = image.info.get("nclx_profile")
        codes = stated and (stated["color_primaries"], stated["transfer_characteristics"])
    return codes and profile(codes)


def _scale(image: Image.Image, side: int) -> int:
    """By how much a JPEG's decoder will shrink the image for variants of up to `side` pixels."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or min(image.size) < 1:
        return 1
    width, height = fitted(*image.size, side)
    possible = min(image.width // width, image.height // height)
    return next(step for step in (8, 4, 2, 1) if possible >= step)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # broken metadata must not cost the picture
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _frames(image: Image.Image) -> int:
    frames = getattr(image, "n_frames", 1)
    return frames if isinstance(frames, int) and frames > 0 else 1
