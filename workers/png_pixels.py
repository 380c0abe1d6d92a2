"""Decodes the pixels of a PNG, and finds out whether they are all there."""

import zlib
from pathlib import Path

from PIL import Image, ImageFile

from workers.failures import JobError
from workers.png_chunks import read_chunks

_HIGHEST_VALUE = {"L;2": 3, "L;4": 15, "L": 255, "RGB": 255}
"""Of a channel as it is stored, by Pillow's name of how that is; one bit Pillow scales itself."""
_UNLIKELY = {"LA": (253, 1), "RGB": (253, 1, 253), "RGBA": (253, 1, 253, 1)}
_UNLIKELY_GREY = 253
"""Colours that few pictures have all along their last row."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By the colour type in the header."""
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Left, top and the steps across and down of each pass of an interlaced picture."""
_PIECE_BYTES = 1024 * 1024


def load_png(image: ImageFile.ImageFile, path: Path) -> None:
    """Decode the still picture of the PNG file `path`, which Pillow has opened as `image`.

    Raises JobError if its compressed data ends well but before the last row, which Pillow does not notice;
    that is accepted where truncated files are. Otherwise raises what Pillow raises.
    """
    _scale_transparent_colour(image)
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        image.load()
        return
    # The last row is filled with a colour first. Only where it is still there the data is counted, which
    # takes half as long as decoding.
    row = image.height - 1
    if "interlace" in image.info and image.height > 1:
        row -= image.height % 2  # the last pass has the odd rows
    colour = _UNLIKELY.get(image.mode, _UNLIKELY_GREY)
    image.im = Image.new(image.mode, image.size, None).im
    unlikely = Image.new(image.mode, (image.width, 1), colour)
    image.im.paste(unlikely.im, (0, row, image.width, row + 1))
    image.load()
    shown = image.crop((0, row, image.width, row + 1))
    if shown.getextrema() == unlikely.getextrema() and not _is_complete(path):
        raise JobError(
            "undecodable",
            "The PNG is cut off: it ends before the last rows of its picture. Send it again, whole.",
        )


def show_first_frame(image: ImageFile.ImageFile) -> None:
    """Go to the first frame of an animated PNG that begins with a picture for programs that know no APNG."""
    if not getattr(image, "default_image", False) or getattr(image, "n_frames", 1) < 2:
        return
    if image.mode in ("LA", "RGBA"):
        # The animation begins on an empty canvas, and not on that picture.
        image.im = Image.new(image.mode, image.size, 0).im
    image.seek(1)
    image.load()


def _scale_transparent_colour(image: Image.Image) -> None:
    """Bring the colour that the file declares transparent (tRNS) from its depth to that of Pillow's pixels.

    Only its low bits count (PNG, 11.3.1.1). Of 16-bit colours Pillow keeps the high byte of each channel.
    """
    key = image.info.get("transparency")
    stored = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if isinstance(key, bytes) or key is None or not isinstance(stored, str):
        return
    if stored == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif stored in _HIGHEST_VALUE:
        highest = _HIGHEST_VALUE[stored]
        scaled = [(value & highest) * 255 // highest for value in (key if isinstance(key, tuple) else (key,))]
        image.info["transparency"] = tuple(scaled) if isinstance(key, tuple) else scaled[0]


def _is_complete(path: Path) -> bool:
    """Whether the compressed data of the picture has a value for each of its pixels."""
    header, pixels = b"", []
    for kind, whole in read_chunks(path.read_bytes()):
        if kind == b"IHDR":
            header = whole[8:-4]
        elif kind == b"IDAT":
            pixels.append(whole[8:-4])
    missing = _count_bytes(header)
    inflater = zlib.decompressobj()
    data = b"".join(pixels)
    try:
        while missing > 0 and data and not inflater.eof:
            missing -= len(inflater.decompress(data, _PIECE_BYTES))
            data = inflater.unconsumed_tail
        return missing - len(inflater.flush()) <= 0
    except zlib.error:
        return False


def _count_bytes(header: bytes) -> int:
    """How many bytes the picture with this header (IHDR) has before it is compressed."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _CHANNELS[header[9]]
    count = 0
    for left, top, across, down in _ADAM7 if header[12] else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            count += rows * (1 + (columns * bits + 7) // 8)
    return count
