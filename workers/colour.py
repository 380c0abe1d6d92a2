"""Converts whatever pixels a file holds to 8-bit sRGB, in the modes L, LA, RGB or RGBA."""

import functools
import itertools
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

from workers.background import Colour
from workers.chromaticities import is_srgb_gamma
from workers.icc import make_display_p3_profile, make_rgb_profile, srgb_light
from workers.samples import scale_floats, scale_integers

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
"""Made when the module is loaded, for a confined process cannot read the files that this may need."""

P3_PROFILE = make_display_p3_profile()
"""What a picture of `to_display_p3` is to have embedded."""
_P3 = ImageCms.ImageCmsProfile(BytesIO(P3_PROFILE))

Info = dict[str | tuple[int, int], object]
"""Pillow's `info` of a picture."""

_SPACES = {"RGB ": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",), "Lab ": ("LAB",)}
_CHANNELS_WITH_ALPHA = {"RGBA": "RGB", "LA": "L"}
_MAX_PROFILE_BYTES = 8 * 1024 * 1024
_SRGB_GAMMA = 1 / 2.2
_LARGEST_SIGNED = 2**31 - 1
_LINEAR_GREY, _LINEAR_GREY_SHOWN = 55, 128
"""A value of linear light, and the same in sRGB."""
_MAX_ROUNDING_ERROR = 1
"""Difference, of 255, that rounding alone can make."""
_MIN_EXCESS = 8
"""Difference, of 255, from which on a colour counts as outside sRGB: rounding in dark ones makes up to 3."""
_LEVELS = tuple(255 * step // 8 for step in range(9))


def to_eight_bit(image: Image.Image) -> Image.Image:
    """`image` with 8 bits a channel and no palette, in the modes L, LA, RGB, RGBA, CMYK or LAB.

    An alpha channel that is opaque everywhere is dropped.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        image = _scale_16_bit(image)
    elif mode == "I":
        image = scale_integers([image.convert("F")], _LARGEST_SIGNED)[0]
    elif mode == "F":
        image = scale_floats([image])[0]
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


def to_srgb(image: Image.Image, info: Info) -> Image.Image:
    """`image` (in a mode that `to_eight_bit` returns) in sRGB, by the profile or gamma in its file's `info`.

    A profile that is broken, or meant for another kind of pixels, is ignored, as browsers do.
    """
    converted = _convert_by_profile(image, info, SRGB)
    if converted is not None:
        return converted
    if image.mode in ("CMYK", "LAB"):
        return image.convert("RGB")
    gamma = info.get("gamma")
    if isinstance(gamma, float) and "srgb" not in info and "icc_profile" not in info:
        return _convert_by_gamma(image, gamma)
    return image


def to_display_p3(image: Image.Image, info: Info) -> Image.Image:
    """`image` (in a mode that `to_eight_bit` returns, for which `is_wide` is true) in Display P3."""
    converted = _convert_by_profile(image, info, _P3)
    # A picture whose conversion fails has the colours that it would have in sRGB.
    return converted or _apply_profile(to_srgb(image, info), SRGB, _P3) or image


def to_display_p3_colour(colour: Colour) -> Colour:
    """A colour of sRGB as one of Display P3."""
    red, green, blue = to_display_p3(Image.new("RGB", (1, 1), colour), {}).tobytes()
    return red, green, blue


def is_wide(mode: str, info: Info) -> bool:
    """Whether pixels of this mode with this `info` can have colours of Display P3 that are outside sRGB.

    That is decided by the profile, not by the colours which a picture happens to have.
    """
    colours = _CHANNELS_WITH_ALPHA.get(mode, mode)
    wide = None if colours == "L" else _convert_by_profile(_spread(colours), info, _P3)
    narrow = wide and _apply_profile(wide, _P3, SRGB)
    back = narrow and _apply_profile(narrow, SRGB, _P3)
    if wide is None or back is None:
        return False
    return max(ImageChops.difference(wide, back).tobytes()) > _MIN_EXCESS


def is_srgb(info: Info) -> bool:
    """Whether RGB pixels with this `info` of their file are sRGB already, as far as can be seen."""
    if not info.keys() & {"icc_profile", "gamma"}:
        return True
    difference = ImageChops.difference(to_srgb(_spread("RGB"), info), _spread("RGB"))
    return max(difference.tobytes()) <= _MAX_ROUNDING_ERROR


@functools.cache
def _spread(mode: str) -> Image.Image:
    """A picture of colours that are evenly spread over all that there are in this mode."""
    channels = Image.getmodebands(mode)
    colours = itertools.product(_LEVELS, repeat=channels)
    size = len(_LEVELS), len(_LEVELS) ** (channels - 1)
    return Image.frombytes(mode, size, bytes(itertools.chain(*colours)))


def encode_light(icc: bytes) -> bytes | None:
    """The profile `icc` with the curve of sRGB in place of linear light; None if it is not one of that.

    8 bits are too few for linear light: all of its shadows would be one of a dozen values.
    """
    grey = Image.new("RGB", (1, 1), (_LINEAR_GREY,) * 3)
    shown = to_srgb(grey, {"icc_profile": icc}).getpixel((0, 0))
    if not isinstance(shown, tuple) or abs(shown[1] - _LINEAR_GREY_SHOWN) > _MAX_ROUNDING_ERROR:
        return None
    profile = ImageCms.ImageCmsProfile(BytesIO(icc)).profile
    colorants = (profile.red_colorant, profile.green_colorant, profile.blue_colorant)
    columns = [each[0] for each in colorants if each is not None]
    return make_rgb_profile((columns[0], columns[1], columns[2]), srgb_light) if len(columns) == 3 else None


def _convert_by_profile(
    image: Image.Image, info: Info, target: ImageCms.ImageCmsProfile
) -> Image.Image | None:
    """`image` in the colours of `target`; None if its `info` has no profile that applies to it."""
    profile = _read_profile(image.mode, info)
    if profile is None:
        return None
    colours = _CHANNELS_WITH_ALPHA.get(image.mode, image.mode)
    if colours == image.mode:
        return _apply_profile(image, profile, target)
    alpha = image.getchannel("A")
    opaque = _apply_profile(image.convert(colours), profile, target)
    if opaque is None:
        return None
    opaque.putalpha(alpha)
    return opaque


def _read_profile(mode: str, info: Info) -> ImageCms.ImageCmsProfile | None:
    """The profile in `info`, if it is one for pixels of this mode; CIELAB needs none."""
    icc = info.get("icc_profile")
    if not (isinstance(icc, bytes) and 128 <= len(icc) <= _MAX_PROFILE_BYTES):
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")) if mode == "LAB" else None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        modes = _SPACES.get(profile.profile.xcolor_space, ())
    except Exception:  # a broken profile must not make the picture fail
        return None
    return profile if _CHANNELS_WITH_ALPHA.get(mode, mode) in modes else None


def _apply_profile(
    image: Image.Image, profile: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile
) -> Image.Image | None:
    try:
        transform = ImageCms.buildTransform(
            profile,
            target,
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
