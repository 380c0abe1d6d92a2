"""The memory that an image will need is predicted from its header."""

from workers.memory import predict_bytes

MILLION = 1_000_000


def test_a_picture_is_held_while_its_first_variant_is_scaled() -> None:
    """The intermediate picture has the variant's columns and the source's rows."""
    whole = predict_bytes("png", "RGB", (4000, 3000))
    assert whole == 12 * MILLION * 4
    assert predict_bytes("png", "RGB", (4000, 3000), 1600) == whole + 1600 * 3000 * 4
    assert predict_bytes("png", "L", (4000, 3000), 1600) == 12 * MILLION + 1600 * 3000


def test_what_is_not_scaled_needs_nothing_for_it() -> None:
    """A picture that is small enough is encoded without scaling."""
    assert predict_bytes("png", "RGB", (1600, 1200), 1600) == 1600 * 1200 * 4


def test_a_decoder_has_let_go_when_the_scaling_begins() -> None:
    """The decoder's memory is free by then, so the larger of the two counts."""
    assert predict_bytes("webp", "RGB", (4000, 3000), 1600) == 12 * MILLION * (12 + 4)


def test_a_jpeg_is_held_as_large_as_its_decoder_makes_it() -> None:
    """A JPEG is reduced while it is decoded; of a progressive one all coefficients are held."""
    halved = 3 * MILLION * 4
    assert predict_bytes("jpeg", "RGB", (4000, 3000), 1600, scale=2) == halved + 1600 * 1500 * 4
    assert (
        predict_bytes("jpeg", "RGB", (4000, 3000), 1600, scale=2, progressive=True) == halved + 36 * MILLION
    )


def test_a_line_without_end_is_a_picture_too() -> None:
    """Extreme shapes cause no division by zero."""
    assert predict_bytes("png", "RGB", (100 * MILLION, 1), 1600) >= 400 * MILLION
