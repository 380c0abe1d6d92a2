"""A check of this process's codecs: a small picture of its own (the canary) through each of them.

When it fails, the fault lies with the process and not with an upload.
"""

from io import BytesIO

from PIL import Image

from workers.colour import to_eight_bit, to_srgb
from workers.formats import PILLOW_NAMES, sniff

_SIDE = 24
_FORMATS = ("jpeg", "png", "webp", "avif", "gif", "tiff", "bmp")
_MIN_BRIGHTNESS = 200
"""Of 255, at the bright edge of the canary after it was encoded and decoded."""


class CanaryError(Exception):
    """Raised when a codec of this process does not work as it should."""


def check_codecs() -> None:
    """Encode and decode the canary in every format for which there is an encoder; raises CanaryError.

    This also loads whatever Pillow loads on first use, so that a confined process need not.
    """
    try:
        for format_ in _FORMATS:
            _check_round_trip(format_)
    except CanaryError:
        raise
    except Exception as error:
        raise CanaryError(f"{type(error).__name__} in the canary") from error


def _check_round_trip(format_: str) -> None:
    picture = Image.linear_gradient("L").resize((_SIDE, _SIDE)).convert("RGB")
    file = BytesIO()
    threads = {"max_threads": 1} if format_ == "avif" else {}
    picture.save(file, PILLOW_NAMES[format_], **threads)
    if sniff(file.getvalue()) != format_:
        raise CanaryError(f"the canary encoded as {format_} is not recognised as such")
    file.seek(0)
    with Image.open(file, formats=[PILLOW_NAMES[format_]]) as image:
        image.load()
        image.getexif()
        brightness = to_srgb(to_eight_bit(image), {}).convert("L").getpixel((_SIDE // 2, _SIDE - 1))
    if not isinstance(brightness, int | float) or brightness < _MIN_BRIGHTNESS:
        raise CanaryError(f"the canary encoded as {format_} was decoded to another picture")
