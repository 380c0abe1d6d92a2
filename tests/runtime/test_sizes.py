"""Sizes are written as people read them."""

import pytest

from app.runtime.sizes import format_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1_048_575, "1024 KiB"),
        (33_554_432, "32 MiB"),
        (1_500_000, "1.43 MiB"),
        (10 * 2**30, "10 GiB"),
        (5000 * 2**30, "5000 GiB"),
    ],
)
def test_a_size_has_at_most_four_digits_and_a_unit(size: int, text: str) -> None:
    """No figure of eight digits, and no exponent, is shown to anybody."""
    assert format_size(size) == text
