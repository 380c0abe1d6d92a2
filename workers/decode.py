"""Opens an upload with the one plugin for its format, checks its header against bounds, decodes it once."""

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile

from workers.bmp import BmpPicture, read_bmp
from workers.boxes import read_primary_properties, read_primary_size
from workers.failures import JobError, explain_damage, too_many_pixels, too_much_memory
from workers.formats import (
    PILLOW_NAMES,
    SNIFF_BYTES,
    SOURCE_NAMES,
    read_claimed_size,
    read_head,
    read_jpeg_depth,
    sniff,
)
from workers.gif import clear_outside
from workers.heic import decode_reduced
from workers.jpeg import load_without_end
from workers.memory import FRAME_BYTES_PER_PIXEL, MOVING_WEBP, predict_bytes
from workers.named_colours import find_profile
from workers.orientation import drop_xmp, read_orientation, turned
from workers.png_chunks import keep_essential_chunks
from workers.png_pixels import load_png, show_first_frame
from workers.shapes import Size, copy_size, needed_size
from workers.tiff import TiffPicture, read_tiff
from workers.variants import Variant
from workers.webp import WebpPicture, read_webp

# Plugins that allocate the picture when they open a file, with the mode of its pixels.
_ALLOCATING = {"gif": "P", "webp": "RGBA"}
# Plugins that allocate the length which a chunk or strip claims, before they read it.
_TRUSTING = ("png", "tiff")
# In other formats further pictures are pages, albums or a telephone's second picture, and not frames.
_ANIMATED = ("gif", "png", "webp", "avif")


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image file whose header is within bounds. It is not decoded yet.

    `orientation` is that of EXIF, 1 if the plugin applies it itself; `frames` is 1 unless all are wanted.
    """

    image: Image.Image
    format: str
    orientation: int
    frames: int
    icc: bytes | None = None
    """A profile of the colours, if the file names them by code points; None to use the file's own."""
    stored_size: Size | None = None
    """Width and height in the file, where `image` may have been scaled down already."""

    @property
    def info(self) -> dict[str | tuple[int, int], Any]:
        """Pillow's `info` of the picture, or of the current frame, with the profile that applies."""
        return self.image.info | ({} if self.icc is None else {"icc_profile": self.icc})

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        return self.turned(self.stored_size or self.image.size)

    def turned(self, size: Size) -> Size:
        """A size of this picture upright as it is stored, or stored as it is upright."""
        return turned(size, self.orientation)


class BoundedFile(io.FileIO):
    """A file of which no more is read than it has: some plugins ask for all that a chunk claims to have.

    It begins with `head`, whatever its first bytes are.
    """

    def __init__(self, path: Path, head: bytes) -> None:
        super().__init__(path)
        self._head = head

    def read(self, size: int | None = -1, /) -> bytes:
        at = self.tell()
        remaining = max(0, os.fstat(self.fileno()).st_size - at)
        if size is None or size < 0 or size > remaining:
            size = remaining
        data = super().read(size) or b""
        return (
            data if at >= len(self._head) else (self._head[at:] + data[len(self._head) - at :])[: len(data)]
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of an image, of which `variants` are made: pixels of all its frames, and bytes of memory."""

    max_pixels: int
    memory_bytes: int
    variants: Sequence[Variant]

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
        """Raise JobError for an image that is outside these bounds or has no pixels at all."""
        width, height = size
        if width < 1 or height < 1:
            raise JobError("undecodable", "The image has no pixels.")
        if width * height * frames > self.max_pixels:
            raise too_many_pixels(size, self.max_pixels, frames)
        needed = predict_bytes(format_, mode, size, self.variants, scale=scale, progressive=progressive)
        if frames > 1:
            needed += width * height * FRAME_BYTES_PER_PIXEL
        if needed > self.memory_bytes:
            raise too_much_memory(size, needed, self.memory_bytes)


@contextlib.contextmanager
def open_image(path: Path, bounds: Bounds, *, animated: bool = False) -> Iterator[OpenedImage]:
    """A context in which `path` is open and its header read; with `animated` all its frames will be decoded.

    Raises JobError: `undecodable` if no allowed plugin can open the file, `too-many-pixels` if the frames
    that will be decoded have more than allowed, `too-much-memory` if decoding would take more than allowed.
    """
    with path.open("rb") as start:
        head = start.read(SNIFF_BYTES)
    format_ = sniff(head)
    if format_ is None:
        raise JobError("undecodable", f"The file is none of {SOURCE_NAMES}.")
    # Pillow's own check counts one frame only and at first just warns, so it is switched off. But of a GIF it
    # checks each frame before memory is allocated for it, which is not possible from here.
    Image.MAX_IMAGE_PIXELS = bounds.max_pixels if format_ == "gif" else None
    tiff = read_tiff(path) if format_ == "tiff" else None
    picture = _read_picture(path, format_, tiff, bounds.variants)
    if picture is not None:
        bounds.check(format_, picture.mode, picture.size)
        image = picture.decode()
        profile = find_profile(image, format_, path)
        yield OpenedImage(image, format_, picture.orientation, 1, profile, picture.size)
        return
    _check_claimed_size(path, format_, head, bounds)
    with contextlib.ExitStack() as closing:
        image = _open_with_plugin(path, format_, closing, b"" if tiff is None else tiff.head)
        frames = _count_frames(image) if animated and format_ in _ANIMATED else 1
        scale, progressive = _decoder_scale(image, bounds.variants), "progressive" in image.info
        kind = MOVING_WEBP if format_ == "webp" else format_
        bounds.check(kind, image.mode, image.size, frames, scale=scale, progressive=progressive)
        if format_ == "png":
            # Its orientation may follow its pixels, so these are read first to tell their failure apart.
            try:
                load_png(image, path)
                show_first_frame(image)
            except (OSError, SyntaxError, ValueError):
                image, frames = _open_essential_png(path, closing), 1
                load_png(image, path)
        elif format_ == "tiff":
            drop_xmp(image)
        profile = find_profile(image, format_, path)
        yield OpenedImage(image, format_, _orientation(image, format_, path), frames, profile)


def _check_claimed_size(path: Path, format_: str, head: bytes, bounds: Bounds) -> None:
    """Raise JobError if the header of a file whose plugin allocates or refuses a large picture claims one."""
    if format_ == "avif":
        size = read_primary_size(read_head(path))
        if size is not None:
            bounds.check(format_, "RGB", size)
    elif format_ in _ALLOCATING:
        size = read_claimed_size(format_, head) or (0, 0)
        # A GIF without a canvas has the size of its first frame.
        if format_ != "gif" or 0 not in size:
            bounds.check(MOVING_WEBP if format_ == "webp" else format_, _ALLOCATING[format_], size)


def decode(source: OpenedImage, variants: Sequence[Variant]) -> Image.Image:
    """Decode the first frame, without its orientation, at a scale that is enough for `variants`."""
    if source.format == "jpeg":
        return _decode_jpeg(source.image, source.turned(needed_size(variants, source.size)))
    if source.format == "heic":
        reduced = decode_reduced(source.image, source.turned(copy_size(variants, source.size)))
        if reduced is not None:
            return reduced
    source.image.load()
    if isinstance(source.image, GifImageFile):
        cleared = clear_outside(source.image, source.image)
        if cleared is not source.image:
            return cleared
    # Pillow changes the image when another frame is read.
    return source.image.copy() if source.frames > 1 else source.image


def _decode_jpeg(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    image.draft(None, box)
    try:
        image.load()
    except OSError:
        if ImageFile.LOAD_TRUNCATED_IMAGES or not isinstance(image, ImageFile.ImageFile):
            raise
        return load_without_end(Path(os.fsdecode(image.filename)), box)
    return image


def _read_picture(
    path: Path, format_: str, tiff: TiffPicture | None, variants: Sequence[Variant]
) -> BmpPicture | TiffPicture | WebpPicture | None:
    """The picture in the file if it is of a kind that Pillow does not read as it should."""
    if format_ == "bmp":
        return read_bmp(path)
    if format_ == "webp":
        return read_webp(path, variants)
    return None if tiff is None or tiff.is_for_pillow() else tiff


def _open_with_plugin(
    path: Path, format_: str, closing: contextlib.ExitStack, head: bytes = b""
) -> ImageFile.ImageFile:
    """Open the file with the plugin of its format, until `closing` exits. Nothing is decoded yet.

    A plugin that is given a file, and no path, reads `head` in place of its first bytes.
    """
    file: BoundedFile | Path = path
    if format_ in _TRUSTING:
        file = closing.enter_context(BoundedFile(path, head))
    try:
        image = closing.enter_context(Image.open(file, formats=[PILLOW_NAMES[format_]]))
    except (UnidentifiedImageError, ValueError):
        if format_ == "png":
            return _open_essential_png(path, closing)
        raise JobError("undecodable", _explain_refusal(path, format_)) from None
    if format_ in _TRUSTING:
        # With the name of the file Pillow can map pixels into memory that are stored as it holds them.
        image.filename = str(path)
    return image


def _open_essential_png(path: Path, closing: contextlib.ExitStack) -> ImageFile.ImageFile:
    """Open a PNG that its plugin refused, reduced to the chunks that its picture needs."""
    try:
        return closing.enter_context(
            Image.open(io.BytesIO(keep_essential_chunks(path.read_bytes())), formats=["PNG"])
        )
    except (UnidentifiedImageError, ValueError):
        raise JobError("undecodable", _explain_refusal(path, "png")) from None


def _explain_refusal(path: Path, format_: str) -> str:
    """A sentence that says why the plugin did not open the file, as far as that is known."""
    if format_ == "jpeg":
        depth = read_jpeg_depth(read_head(path))
        if depth not in (None, 8):
            return f"The JPEG has {depth} bits a channel, and only those with 8 can be decoded."
    return explain_damage(format_)


def _decoder_scale(image: Image.Image, variants: Sequence[Variant]) -> int:
    """By which factor a JPEG's decoder will reduce the image, which may lie on its side, at most."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or min(image.size) < 1:
        return 1
    possible = 1
    for size in (image.size, image.size[::-1]):
        width, height = needed_size(variants, size)
        possible = max(possible, min(size[0] // width, size[1] // height))
    return next(step for step in (8, 4, 2, 1) if possible >= step)


def _orientation(image: Image.Image, format_: str, path: Path) -> int:
    """The orientation (1 to 8) that is to be applied to the pixels that the plugin decodes."""
    if format_ == "tiff":
        return 1
    if format_ == "heic":
        # Its decoder applies the rotation and the reflection of the picture, which take precedence.
        kinds = {kind for kind, _ in read_primary_properties(read_head(path))}
        if kinds & {b"irot", b"imir"}:
            return 1
    return read_orientation(image.info)


def _count_frames(image: Image.Image) -> int:
    frames = getattr(image, "n_frames", 1)
    return frames if isinstance(frames, int) and frames > 0 else 1
