"""A picture that always decodes: when it does not, the process is at fault and not an upload."""

from io import BytesIO

from PIL import Image

from workers.colour import eight_bit, to_srgb
from workers.formats import PILLOW_NAMES, sniff

_SIDE = 24
_FORMATS = ("jpeg", "png", "webp", "avif", "gif", "tiff", "bmp")


class CanaryError(Exception):
    """Raised when a codec of this process no longer does what it did."""


def sing() -> None:
    """Encode and decode the canary in every format with an encoder here; raises CanaryError.

    Loads on the way whatever Pillow loads late, so that a confined process need not.
    """
    try:
        for format_ in _FORMATS:
            _round_trip(format_)
    except CanaryError:
        raise
    except Exception as error:
        raise CanaryError(f"{type(error).__name__} in the canary") from error


def _round_trip(format_: str) -> None:
    picture = Image.linear_gradient("L").resize((_SIDE, _SIDE)).convert("RGB")
    file = BytesIO()
    threads = {"max_threads": 1} if format_ == "avif" else {}
    picture.save(file, PILLOW_NAMES[format_], **threads)
    if sniff(file.getvalue()) != format_:
        raise CanaryError(f"the canary as {format_} does not look like it")
    file.seek(0)
    with Image.open(file, formats=[PILLOW_NAMES[format_]]) as image:
        image.load()
        image.getexif()
        seen = to_srgb(eight_bit(image), {}).convert("L").getpixel((_SIDE // 2, _SIDE - 1))
    if not isinstance(seen, int | float) or seen < 200:
        raise CanaryError(f"the canary as {format_} came back changed")
