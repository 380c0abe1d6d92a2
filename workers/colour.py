"""From whatever a file holds to 8-bit sRGB: modes L, LA, RGB and RGBA leave this module."""

import itertools
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
"""Built when the module is loaded: a confined process could build no profile that reads a file."""

_SPACES = {"RGB ": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",), "Lab ": ("LAB",)}
_CHANNELS_WITH_ALPHA = {"RGBA": "RGB", "LA": "L"}
_LARGEST_PROFILE = 8 * 1024 * 1024
_SRGB_GAMMA = 1 / 2.2
_UNSEEN = 1
"""Difference, of 255, that rounding alone makes."""
_LEVELS = tuple(255 * step // 8 for step in range(9))
_GRID = Image.frombytes("RGB", (27, 27), bytes(itertools.chain(*itertools.product(_LEVELS, repeat=3))))
"""Colours from everywhere in the cube."""


def eight_bit(image: Image.Image) -> Image.Image:
    """`image` with 8 bits a channel and no palette: L, LA, RGB, RGBA, CMYK or LAB; deeper ones are scaled."""
    mode = image.mode
    if mode.startswith("I;16"):
        image = _scaled_words(image)
    elif mode == "I":
        image = _scaled_integers(image)
    elif mode == "F":
        image = _scaled_floats(image)
    elif mode == "1":
        image = image.convert("LA" if "transparency" in image.info else "L")
    elif mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif mode in ("L", "RGB") and "transparency" in image.info:
        image = _with_colour_key(image)
    elif mode in ("PA", "RGBa"):
        image = image.convert("RGBA")
    elif mode == "La":
        image = image.convert("LA")
    elif mode in ("RGBX", "YCbCr", "HSV"):
        image = image.convert("RGB")
    if image.mode in _CHANNELS_WITH_ALPHA and image.getchannel("A").getextrema() == (255, 255):
        # Every later step is cheaper without an alpha channel that says nothing.
        image = image.convert(_CHANNELS_WITH_ALPHA[image.mode])
    return image


def to_srgb(image: Image.Image, info: dict[str | tuple[int, int], object]) -> Image.Image:
    """`image` (as `eight_bit` leaves it) in sRGB, by the profile or gamma of its file's `info`.

    A profile that is broken or of another kind than the pixels is ignored, as browsers do.
    """
    icc = info.get("icc_profile")
    converted = None
    if isinstance(icc, bytes) and 128 <= len(icc) <= _LARGEST_PROFILE:
        converted = _by_profile(image, icc)
    elif image.mode == "LAB":
        converted = _transformed(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if converted is not None:
        return converted
    if image.mode in ("CMYK", "LAB"):
        return image.convert("RGB")
    gamma = info.get("gamma")
    if isinstance(gamma, float) and "srgb" not in info and "icc_profile" not in info:
        return _by_gamma(image, gamma)
    return image


def is_srgb(info: dict[str | tuple[int, int], object]) -> bool:
    """Whether pixels in RGB are sRGB as they are, by the profile or gamma of their file's `info`."""
    if not info.keys() & {"icc_profile", "gamma"}:
        return True
    moved = ImageChops.difference(to_srgb(_GRID, info), _GRID)
    return max(moved.tobytes()) <= _UNSEEN


def _by_profile(image: Image.Image, icc: bytes) -> Image.Image | None:
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        modes = _SPACES.get(profile.profile.xcolor_space, ())
    except Exception:  # a broken profile must not cost the picture
        return None
    colours = _CHANNELS_WITH_ALPHA.get(image.mode, image.mode)
    if colours not in modes:
        return None
    if colours == image.mode:
        return _transformed(image, profile)
    alpha = image.getchannel("A")
    opaque = _transformed(image.convert(colours), profile)
    if opaque is None:
        return None
    opaque.putalpha(alpha)
    return opaque


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
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


def _by_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """A PNG that states its gamma and no profile: 1.0 is linear light, .45455 is near enough to sRGB."""
    if not 0.05 <= gamma <= 5 or abs(gamma - _SRGB_GAMMA) < 0.02:
        return image
    exponent = _SRGB_GAMMA / gamma
    curve = [round(255 * (value / 255) ** exponent) for value in range(256)]
    tables = curve * (3 if image.mode.startswith("RGB") else 1)
    if image.mode in _CHANNELS_WITH_ALPHA:
        tables += range(256)
    return image.point(tables)


def _with_colour_key(image: Image.Image) -> Image.Image:
    """Turn the one colour that a PNG calls transparent into an alpha channel."""
    key = image.info["transparency"]
    deep = any(value > 255 for value in (key if isinstance(key, tuple) else (key,)) if isinstance(value, int))
    if deep:
        # The key of a 16-bit file, whose pixels came with their high bytes only.
        shallow = tuple(value >> 8 for value in key) if isinstance(key, tuple) else key >> 8
        image.info["transparency"] = shallow
    return image.convert("LA" if image.mode == "L" else "RGBA")


def _scaled_words(image: Image.Image) -> Image.Image:
    """16-bit greys in eight bits, and the grey that a PNG calls transparent as an alpha channel."""
    wide = image.convert("I")  # the one mode that takes a table of 65 536 entries
    grey = wide.point([(value + 128) // 257 for value in range(65_536)], "L")
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    return Image.merge("LA", (grey, wide.point([255 * (value != key) for value in range(65_536)], "L")))


def _scaled_integers(image: Image.Image) -> Image.Image:
    """32-bit integers as greys: by the smallest of the usual depths that holds the brightest pixel."""
    brightest = _extrema(image)[1]
    depth = next((most for most in (255, 65_535, 2**24 - 1) if brightest <= most), 2**31 - 1)
    return image.convert("F").point(lambda value: value * (255 / depth) + 0).convert("L")


def _scaled_floats(image: Image.Image) -> Image.Image:
    """Floating point greys: 0 to 1 where that holds them, else 0 to the brightest."""
    brightest = _extrema(image)[1]
    most = next((top for top in (1.0, 255.0, 65_535.0) if brightest <= top), brightest)
    return image.point(lambda value: value * (255 / most) + 0).convert("L")


def _extrema(image: Image.Image) -> tuple[float, float]:
    extrema = image.getextrema()
    least, most = extrema
    assert isinstance(least, int | float)  # noqa: S101 (narrows the type: these modes have one channel)
    assert isinstance(most, int | float)  # noqa: S101
    return least, most
