"""Files of every format that is taken, by its encoder."""

from io import BytesIO
from typing import Any

import pillow_heif
from PIL import Image

from tests.samples.metadata import SECRET, exif
from tests.samples.picture import picture, stored_as


def jpeg(
    width: int = 64,
    height: int = 48,
    *,
    mode: str = "RGB",
    orientation: int = 1,
    gps: bool = False,
    thumbnail: bytes | None = None,
    **options: Any,
) -> bytes:
    """A JPEG (mode L, RGB or CMYK) whose EXIF says `orientation`; `options` go to Pillow's encoder."""
    image = stored_as(orientation, picture(width, height, mode))
    block = exif(orientation, gps=gps, thumbnail=thumbnail)
    return _saved(image, "JPEG", **{"quality": 92, "exif": block, "comment": SECRET, **options})


def png(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """A PNG of Pillow's `mode` (1, L, LA, P, RGB, RGBA, I;16)."""
    if mode == "I;16":
        grey = picture(width, height, "L").convert("I").point(lambda value: value * 257 + 0)
        return _saved(grey.convert("I;16"), "PNG", **options)
    return _saved(picture(width, height, mode), "PNG", **options)


def webp(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """A WebP, with `mode` RGBA a transparent one."""
    return _saved(picture(width, height, mode), "WEBP", **{"quality": 92, **options})


def gif(width: int = 64, height: int = 48, *, frames: int = 1) -> bytes:
    """A GIF; with more than one of `frames` an animation of 80 ms a frame that plays three times."""
    return _animation("GIF", width, height, frames, loop=2)


def apng(width: int = 64, height: int = 48, *, frames: int = 3) -> bytes:
    """An animated PNG of 80 ms a frame."""
    return _animation("PNG", width, height, frames)


def tiff(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """A TIFF of Pillow's `mode` (RGB, CMYK, L, I;16, F, …)."""
    return _saved(picture(width, height, mode), "TIFF", **options)


def bmp(width: int = 64, height: int = 48, *, mode: str = "RGB") -> bytes:
    """A BMP."""
    return _saved(picture(width, height, mode), "BMP")


def avif(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """An AVIF."""
    return _saved(picture(width, height, mode), "AVIF", **{"quality": 92, "speed": 9, **options})


def heic(width: int = 64, height: int = 48, *, mode: str = "RGB", **options: Any) -> bytes:
    """An HEIC file, as telephones make them."""
    pillow_heif.register_heif_opener()
    return _saved(picture(width, height, mode), "HEIF", **{"quality": 92, **options})


def encoded(image: Image.Image, format_: str, orientation: int) -> bytes:
    """`image` as it is, in a format by its lower-case name, with EXIF that says `orientation`."""
    name = {"heic": "HEIF"}.get(format_, format_.upper())
    quality = {} if format_ in ("png", "tiff") else {"quality": 95}
    return _saved(image, name, exif=exif(orientation), **quality)


def animated_webp(width: int = 64, height: int = 48, *, frames: int = 3) -> bytes:
    """An animated WebP of 80 ms a frame."""
    return _animation("WEBP", width, height, frames, quality=95)


def gif_transparent(width: int = 64, height: int = 48) -> bytes:
    """A GIF whose lower half is transparent."""
    return _saved(picture(width, height, "RGBA"), "GIF")


def _saved(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def _animation(format_: str, width: int, height: int, count: int, **options: Any) -> bytes:
    # Each frame is turned on, so that no encoder merges two that are alike.
    frames = [picture(width, height).rotate(90 * index) for index in range(count)]
    if count == 1:
        return _saved(frames[0], format_)
    return _saved(frames[0], format_, save_all=True, append_images=frames[1:], duration=80, **options)
