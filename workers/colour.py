"""Converts whatever pixels a file holds to 8-bit sRGB, in the modes L, LA, RGB or RGBA."""

import itertools
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

from workers.chromaticities import is_srgb_gamma

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
"""Made when the module is loaded, for a confined process cannot read the files that this may need."""

_SPACES = {"RGB ": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",), "Lab ": ("LAB",)}
_CHANNELS_WITH_ALPHA = {"RGBA": "RGB", "LA": "L"}
_MAX_PROFILE_BYTES = 8 * 1024 * 1024
_SRGB_GAMMA = 1 / 2.2
_MAX_ROUNDING_ERROR = 1
"""Difference, of 255, that rounding alone can make."""
_LEVELS = tuple(255 * step // 8 for step in range(9))
_GRID = Image.frombytes("RGB", (27, 27), bytes(itertools.chain(*itertools.product(_LEVELS, repeat=3))))
"""A picture of colours evenly spread over the RGB cube."""


def to_eight_bit(image: Image.Image) -> Image.Image:
    """`image` with 8 bits a channel and no palette, in the modes L, LA, RGB, RGBA, CMYK or LAB.

    An alpha channel that is opaque everywhere is dropped.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        image = _scale_16_bit(image)
    elif mode == "I":
        image = _scale_32_bit(image)
    elif mode == "F":
        image = _scale_floats(image)
    elif mode == "1":
        image = to_eight_bit(image.convert("L"))
    elif mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif mode in ("L", "RGB") and "transparency" in image.info:
        image = _apply_colour_key(image)
    elif mode in ("PA", "RGBa"):
        image = image.convert("RGBA")
    elif mode == "La":
        image = image.convert("LA")
    elif mode in ("RGBX", "YCbCr", "HSV"):
        image = image.convert("RGB")
    if image.mode in _CHANNELS_WITH_ALPHA and image.getchannel("A").getextrema() == (255, 255):
        # Every later step is cheaper without it.
        image = image.convert(_CHANNELS_WITH_ALPHA[image.mode])
    return image


def to_srgb(image: Image.Image, info: dict[str | tuple[int, int], object]) -> Image.Image:
    """`image` (in a mode that `to_eight_bit` returns) in sRGB, by the profile or gamma in its file's `info`.

    A profile that is broken, or meant for another kind of pixels, is ignored, as browsers do.
    """
    icc = info.get("icc_profile")
    converted = None
    if isinstance(icc, bytes) and 128 <= len(icc) <= _MAX_PROFILE_BYTES:
        converted = _convert_by_profile(image, icc)
    elif image.mode == "LAB":
        converted = _apply_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if converted is not None:
        return converted
    if image.mode in ("CMYK", "LAB"):
        return image.convert("RGB")
    gamma = info.get("gamma")
    if isinstance(gamma, float) and "srgb" not in info and "icc_profile" not in info:
        return _convert_by_gamma(image, gamma)
    return image


def is_srgb(info: dict[str | tuple[int, int], object]) -> bool:
    """Whether RGB pixels with this `info` of their file are sRGB already, as far as can be seen."""
    if not info.keys() & {"icc_profile", "gamma"}:
        return True
    difference = ImageChops.difference(to_srgb(_GRID, info), _GRID)
    return max(difference.tobytes()) <= _MAX_ROUNDING_ERROR


def _convert_by_profile(image: Image.Image, icc: bytes) -> Image.Image | None:
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        modes = _SPACES.get(profile.profile.xcolor_space, ())
    except Exception:  # a broken profile must not make the picture fail
        return None
    colours = _CHANNELS_WITH_ALPHA.get(image.mode, image.mode)
    if colours not in modes:
        return None
    if colours == image.mode:
        return _apply_profile(image, profile)
    alpha = image.getchannel("A")
    opaque = _apply_profile(image.convert(colours), profile)
    if opaque is None:
        return None
    opaque.putalpha(alpha)
    return opaque


def _apply_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
    try:
        transform = ImageCms.buildTransform(
            profile,
            SRGB,
            image.mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        result = ImageCms.applyTransform(image, transform)
    except MemoryError:
        raise
    except Exception:
        return None
    if result is not None and image.mode == "L":
        return result.convert("L")
    return result


def _convert_by_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """Convert a PNG that has a gamma and no profile: 1.0 is linear light, 0.45455 is close to sRGB."""
    if not 0.05 <= gamma <= 5 or is_srgb_gamma(gamma):
        return image
    exponent = _SRGB_GAMMA / gamma
    curve = [round(255 * (value / 255) ** exponent) for value in range(256)]
    tables = curve * (3 if image.mode.startswith("RGB") else 1)
    if image.mode in _CHANNELS_WITH_ALPHA:
        tables += range(256)
    return image.point(tables)


def _apply_colour_key(image: Image.Image) -> Image.Image:
    """Turn the one colour that a PNG declares transparent (tRNS) into an alpha channel."""
    return image.convert("LA" if image.mode == "L" else "RGBA")


def _scale_16_bit(image: Image.Image) -> Image.Image:
    """16-bit greys in 8 bits; the grey that a PNG declares transparent becomes an alpha channel."""
    wide = image.convert("I")  # the only mode that takes a table of 65 536 entries
    grey = wide.point([(value + 128) // 257 for value in range(65_536)], "L")
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    return Image.merge("LA", (grey, wide.point([255 * (value != key) for value in range(65_536)], "L")))


def _scale_32_bit(image: Image.Image) -> Image.Image:
    """32-bit integers as 8-bit greys, scaled by the smallest usual depth that holds the brightest pixel."""
    brightest = _extrema(image)[1]
    depth = next((depth for depth in (255, 65_535, 2**24 - 1) if brightest <= depth), 2**31 - 1)
    return image.convert("F").point(lambda value: value * (255 / depth) + 0).convert("L")


def _scale_floats(image: Image.Image) -> Image.Image:
    """Floating-point greys as 8-bit greys: white is 1, 255 or 65 535, or else the brightest pixel."""
    brightest = _extrema(image)[1]
    white = next((white for white in (1.0, 255.0, 65_535.0) if brightest <= white), brightest)
    return image.point(lambda value: value * (255 / white) + 0).convert("L")


def _extrema(image: Image.Image) -> tuple[float, float]:
    darkest, brightest = image.getextrema()
    assert isinstance(darkest, int | float)  # noqa: S101 (narrows the type: these modes have one channel)
    assert isinstance(brightest, int | float)  # noqa: S101
    return darkest, brightest
