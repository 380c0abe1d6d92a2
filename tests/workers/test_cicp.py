"""Colours that are named by code points instead of a profile are converted to sRGB."""

import struct
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from tests import samples
from tests.workers.corners import distance, pixel
from workers.cicp import make_profile, read_box_codes, read_png_codes
from workers.png_chunks import read_chunks

Seen = Callable[..., Image.Image]

_COLOUR = (100, 200, 80)
_P3_AS_SRGB = (45, 203, 56)


def _png(primaries: int, transfer: int, colour: tuple[int, ...] = _COLOUR) -> bytes:
    rows = samples.packed_rows(16, 16, bytes(colour))
    return samples.raw_png(16, 16, 8, 2, rows, cICP=bytes((primaries, transfer, 0, 1)))


def _flat(format_: str, **options: object) -> bytes:
    file = BytesIO()
    Image.new("RGB", (16, 16), _COLOUR).save(file, format_, quality=100, **options)
    return file.getvalue()


def _avif(primaries: int, transfer: int) -> bytes:
    data = bytearray(_flat("AVIF"))
    at = data.index(b"colrnclx") + 8
    data[at : at + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(data)


def _heic(primaries: int, transfer: int) -> bytes:
    samples.heic()  # registers its plugin
    return _flat("HEIF", save_nclx_profile=True, color_primaries=primaries, transfer_characteristics=transfer)


@pytest.mark.parametrize("made", [_png, _avif, _heic])
def test_the_wide_gamut_of_telephones_is_seen(seen: Seen, made: Callable[[int, int], bytes]) -> None:
    """Display P3 without a profile is converted; with the code points of sRGB nothing changes."""
    assert distance(pixel(seen(made(12, 13)), 8, 8), _P3_AS_SRGB) <= 8
    assert distance(pixel(seen(made(1, 13)), 8, 8), _COLOUR) <= 4
    assert distance(pixel(seen(made(2, 2)), 8, 8), _COLOUR) <= 4


@pytest.mark.parametrize(("transfer", "paper"), [(16, 148), (18, 191)], ids=["PQ", "HLG"])
def test_high_dynamic_range_is_brought_into_an_ordinary_one(seen: Seen, transfer: int, paper: int) -> None:
    """Diffuse white is nearly white, black is black, and the brightest light is not beyond white."""
    grey, black, light = (pixel(seen(_png(9, transfer, (value,) * 3)), 8, 8)[0] for value in (paper, 0, 255))
    assert 225 <= grey <= 240
    assert (black, light) == (0, 255)


def test_code_points_go_before_the_profile_of_a_png(seen: Seen) -> None:
    """The PNG standard gives cICP precedence over iCCP: this picture is in P3, despite its profile."""
    dull = samples.png(16, 16, icc_profile=samples.rgb_profile(1.0, (0.64, 0.33), (0.3, 0.6), (0.15, 0.06)))
    chunk = next(whole for kind, whole in read_chunks(dull) if kind == b"iCCP")
    data = _png(12, 13)
    assert distance(pixel(seen(data[:33] + chunk + data[33:]), 8, 8), _P3_AS_SRGB) <= 8


@pytest.mark.parametrize("codes", [(1, 13), (1, 1), (2, 2), (6, 6), (77, 13), (9, 99)])
def test_what_is_srgb_or_unknown_makes_no_profile(codes: tuple[int, int]) -> None:
    """Such a picture is shown without conversion, as browsers do."""
    assert make_profile(codes) is None


def test_a_file_that_ends_within_its_colours_names_none() -> None:
    """Incomplete code points are ignored."""
    whole = _avif(12, 13)
    end = whole.index(b"colrnclx") + 10
    assert read_box_codes(whole) == (12, 13)
    assert read_box_codes(whole[:end]) is None
    assert read_png_codes(_png(12, 13)[:40]) is None
