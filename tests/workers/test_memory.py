"""The memory that an image will need, by its header."""

from workers.memory import predict_bytes

MILLION = 1_000_000


def test_a_picture_is_held_while_its_first_variant_is_scaled() -> None:
    """Across before down: as many columns as the variant's, as many rows as the picture's."""
    whole = predict_bytes("png", "RGB", (4000, 3000))
    assert whole == 12 * MILLION * 4
    assert predict_bytes("png", "RGB", (4000, 3000), 1600) == whole + 1600 * 3000 * 4
    assert predict_bytes("png", "L", (4000, 3000), 1600) == 12 * MILLION + 1600 * 3000


def test_what_is_not_scaled_needs_nothing_for_it() -> None:
    """A picture that fits is encoded as it is."""
    assert predict_bytes("png", "RGB", (1600, 1200), 1600) == 1600 * 1200 * 4


def test_a_decoder_has_let_go_when_the_scaling_begins() -> None:
    """So the larger of the two counts."""
    assert predict_bytes("webp", "RGB", (4000, 3000), 1600) == 12 * MILLION * (12 + 4)


def test_a_jpeg_is_held_as_large_as_its_decoder_makes_it() -> None:
    """And whole, as coefficients, where its scans are not in the order of its lines."""
    halved = 3 * MILLION * 4
    assert predict_bytes("jpeg", "RGB", (4000, 3000), 1600, scale=2) == halved + 1600 * 1500 * 4
    assert (
        predict_bytes("jpeg", "RGB", (4000, 3000), 1600, scale=2, progressive=True) == halved + 36 * MILLION
    )


def test_a_line_without_end_is_a_picture_too() -> None:
    """Nothing here divides by nothing."""
    assert predict_bytes("png", "RGB", (100 * MILLION, 1), 1600) >= 400 * MILLION
