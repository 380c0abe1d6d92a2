"""The memory that an image will need is predicted from its header."""

from workers.memory import MOVING_WEBP, predict_bytes
from workers.variants import read_specs

MILLION = 1_000_000
LARGE = read_specs(["large=1600"])


def test_a_picture_is_held_while_its_first_variant_is_scaled() -> None:
    """The intermediate picture has the variant's columns and the source's rows."""
    whole = predict_bytes("png", "RGB", (4000, 3000))
    assert whole == 12 * MILLION * 4
    assert predict_bytes("png", "RGB", (4000, 3000), LARGE) == whole + 1600 * 3000 * 4
    assert predict_bytes("png", "L", (4000, 3000), LARGE) == 12 * MILLION + 1600 * 3000


def test_a_cut_is_scaled_without_the_rest() -> None:
    """The intermediate picture of a panorama's square is that of the square, whichever way up it is."""
    square = read_specs(["square=256x256/cover"])
    for size in ((40_000, 1000), (1000, 40_000)):
        assert predict_bytes("png", "RGB", size, square) == 40 * MILLION * 4 + 256 * 1000 * 4


def test_what_is_not_scaled_needs_nothing_for_it() -> None:
    """A picture that is small enough is encoded without scaling."""
    assert predict_bytes("png", "RGB", (1600, 1200), LARGE) == 1600 * 1200 * 4


def test_a_decoder_has_let_go_when_the_scaling_begins() -> None:
    """The decoder's memory is free by then, so the larger of the two counts."""
    assert predict_bytes("webp", "RGB", (4000, 3000), LARGE) == 12 * MILLION * (4 + 4)
    assert predict_bytes(MOVING_WEBP, "RGB", (4000, 3000), LARGE) == 12 * MILLION * (12 + 4)


def test_a_jpeg_is_held_as_large_as_its_decoder_makes_it() -> None:
    """A JPEG is reduced while it is decoded; of a progressive one all coefficients are held."""
    halved = 3 * MILLION * 4
    assert predict_bytes("jpeg", "RGB", (4000, 3000), LARGE, scale=2) == halved + 1600 * 1500 * 4
    assert (
        predict_bytes("jpeg", "RGB", (4000, 3000), LARGE, scale=2, progressive=True) == halved + 36 * MILLION
    )


def test_a_line_without_end_is_a_picture_too() -> None:
    """Extreme shapes cause no division by zero."""
    assert predict_bytes("png", "RGB", (100 * MILLION, 1), LARGE) >= 400 * MILLION
