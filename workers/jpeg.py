"""Tells a JPEG that lacks only its end marker from one that is cut off."""

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageChops

from workers.failures import JobError

_END = b"\xff\xd9"
_FILLING = bytes(range(1, 255)) * 16
"""Entropy-coded data that says something for a few blocks, and has no marker in it."""


def load_without_end(path: Path, box: tuple[int, int]) -> Image.Image:
    """Decode a JPEG file that ends without the marker for its end, reduced as far as `box` allows.

    Its pixels are all there if they are the same whatever follows them. Otherwise raises JobError, which says
    how much is there.
    """
    data = path.read_bytes()
    image, other = (_decode(data + filling + _END, box) for filling in (b"", _FILLING))
    difference = ImageChops.difference(image, other).getbbox()
    if difference is None:
        return image
    if "progressive" in image.info:
        raise JobError("undecodable", "The JPEG is cut off: its end is missing. Send it again, whole.")
    percent = 100 * difference[1] // image.height
    raise JobError(
        "undecodable", f"The JPEG is cut off: about {percent} % of its height is there. Send it again, whole."
    )


def _decode(data: bytes, box: tuple[int, int]) -> Image.Image:
    with Image.open(BytesIO(data), formats=["JPEG"]) as image:
        image.draft(None, box)
        image.load()
        return image.copy()
