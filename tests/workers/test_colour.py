"""Colours become sRGB with 8 bits a channel; transparency is kept where the format has it."""

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from tests import samples
from tests.workers.corners import distance, pixel

Seen = Callable[..., Image.Image]

# A wide gamut as that of telephones, and the gamut of sRGB itself under a profile.
_WIDE = samples.rgb_profile(2.2, (0.68, 0.32), (0.28, 0.65), (0.155, 0.07))
_NARROW = samples.rgb_profile(1.0, (0.6484, 0.3309), (0.3212, 0.5979), (0.1559, 0.0660))


def _flat(colour: tuple[int, ...] | int, mode: str, format_: str, **options: object) -> bytes:
    file = BytesIO()
    Image.new(mode, (16, 16), colour).save(file, format_, **options)
    return file.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_wide_gamut_is_brought_to_srgb(seen: Seen, format_: str) -> None:
    """A green whose numbers are small because its gamut is wide becomes a strong green."""
    options = {} if format_ in ("PNG", "TIFF") else {"quality": 100}
    data = _flat((100, 200, 80), "RGB", format_, icc_profile=_WIDE, **options)
    shown = pixel(seen(data), 8, 8)
    assert distance(shown, (100, 200, 80)) > 12
    assert shown[0] < 85
    assert shown[1] >= 198


def test_a_linear_profile_is_brightened(seen: Seen) -> None:
    """Half of the light is 188 of 255 in sRGB."""
    assert (
        distance(pixel(seen(_flat((128, 128, 128), "RGB", "PNG", icc_profile=_NARROW)), 8, 8), (188,) * 3)
        <= 2
    )


def test_a_profile_keeps_the_alpha_channel(seen: Seen) -> None:
    """The conversion changes the colours and not the alpha channel."""
    shown = pixel(seen(_flat((128, 128, 128, 77), "RGBA", "PNG", icc_profile=_NARROW)), 8, 8)
    assert distance(shown, (188, 188, 188, 77)) <= 2


@pytest.mark.parametrize(
    "profile",
    [b"x" * 200, _NARROW[:150], samples.cmyk_profile({}), _NARROW[:300] + bytes(300)],
    ids=["noise", "cut", "of another kind", "overwritten"],
)
def test_a_profile_that_makes_no_sense_is_ignored(seen: Seen, profile: bytes) -> None:
    """The picture is shown without conversion, and not refused."""
    assert (
        distance(pixel(seen(_flat((10, 120, 200), "RGB", "PNG", icc_profile=profile)), 8, 8), (10, 120, 200))
        <= 2
    )


def test_cmyk_follows_its_profile(seen: Seen) -> None:
    """With the profile of a press whose cyan ink is a dull green, cyan becomes a dull green."""
    press = samples.cmyk_profile({(1, 0, 0, 0): (128, 100, 150)})
    shown = pixel(seen(_flat((255, 0, 0, 0), "CMYK", "JPEG", icc_profile=press, quality=100)), 8, 8)
    assert shown[1] > shown[0]
    assert shown[1] > shown[2] + 20


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_is_not_inverted(seen: Seen, format_: str) -> None:
    """No ink is white, and full black is black."""
    assert distance(pixel(seen(_flat((0, 0, 0, 0), "CMYK", format_)), 8, 8), (255,) * 3) <= 2
    assert distance(pixel(seen(_flat((0, 0, 0, 255), "CMYK", format_)), 8, 8), (0,) * 3) <= 2


@pytest.mark.parametrize(("value", "shown"), [(0, 0), (32_768, 128), (65_535, 255), (257, 1)])
@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(seen: Seen, format_: str, value: int, shown: int) -> None:
    """The middle of the 16-bit range becomes the middle of the 8-bit range."""
    assert pixel(seen(_flat(value, "I;16", format_)), 8, 8) == (shown,)


@pytest.mark.parametrize(("value", "shown"), [(0.0, 0), (0.5, 128), (1.0, 255)])
def test_floats_are_scaled(seen: Seen, value: float, shown: int) -> None:
    """0 becomes black and 1 white."""
    file = BytesIO()
    image = Image.new("F", (16, 16), 1.0)
    image.paste(value, (0, 0, 12, 16))
    image.save(file, "TIFF")
    assert abs(pixel(seen(file.getvalue()), 2, 8)[0] - shown) <= 1


def test_a_stated_gamma_is_obeyed(seen: Seen) -> None:
    """A PNG with linear light and no profile is brightened, as browsers do."""
    rows = samples.packed_rows(16, 16, b"\x80\x80\x80")
    linear = samples.raw_png(16, 16, 8, 2, rows, gAMA=(100_000).to_bytes(4, "big"))
    usual = samples.raw_png(16, 16, 8, 2, rows, gAMA=(45_455).to_bytes(4, "big"))
    assert distance(pixel(seen(linear), 8, 8), (186,) * 3) <= 2
    assert pixel(seen(usual), 8, 8) == (128, 128, 128)


@pytest.mark.parametrize("format_", ["png", "webp", "avif"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_kept_where_the_format_can(seen: Seen, format_: str, mode: str) -> None:
    """The lower half of the picture is transparent, the upper half opaque."""
    data = samples.gif_transparent(64, 48) if mode == "PA" else samples.png(64, 48, mode=mode)
    alpha = seen(data, f"it=32@{format_}").convert("RGBA").getchannel("A")
    assert pixel(alpha, 16, 2) == (255,)
    assert pixel(alpha, 16, 21) == (0,)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_white_where_the_format_cannot(seen: Seen, mode: str) -> None:
    """In a JPEG, transparent pixels become white."""
    data = samples.gif_transparent(64, 48) if mode == "PA" else samples.png(64, 48, mode=mode)
    image = seen(data, "it=32@jpeg:95").convert("RGB")
    assert distance(pixel(image, 16, 21), (255, 255, 255)) <= 4
    assert distance(pixel(image, 30, 2), (255, 255, 255)) > 40


def test_transparent_pixels_do_not_bleed_into_the_edge(seen: Seen) -> None:
    """Scaling weights colours by alpha, so black under transparent pixels does not show."""
    image = Image.new("RGBA", (64, 64), (255, 255, 255, 255))
    image.paste((0, 0, 0, 0), (0, 33, 64, 64))
    file = BytesIO()
    image.save(file, "PNG")
    assert all(pixel(seen(file.getvalue(), "it=16@png"), 8, y)[0] >= 253 for y in range(8))


@pytest.mark.parametrize(
    ("depth", "colour", "sample", "key"),
    [
        (8, 2, b"\x10\x20\x30", b"\0\x10\0\x20\0\x30"),
        (8, 0, b"\x40", b"\0\x40"),
        (16, 0, b"\x12\x34", b"\x12\x34"),
    ],
    ids=["colour", "grey", "deep grey"],
)
def test_the_one_transparent_colour_of_a_png_is_transparent(
    seen: Seen, depth: int, colour: int, sample: bytes, key: bytes
) -> None:
    """The transparent colour (tRNS) becomes an alpha channel."""
    data = samples.raw_png(16, 16, depth, colour, samples.packed_rows(16, 16, sample), tRNS=key)
    assert pixel(seen(data).convert("RGBA").getchannel("A"), 8, 8) == (0,)
