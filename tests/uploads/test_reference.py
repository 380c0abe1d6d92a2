"""The reference of an upload."""

import pytest

from app.uploads.reference import MalformedReference, reference_of


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("variants=thumb", None),
        ("reference=order-7", "order-7"),
        ("reference=IMG+1%20%C3%A4%2F%23&variants=thumb", "IMG 1 ä/#"),
        ("reference=ä", "ä"),
        ("reference=a&reference=b", "b"),
        ("reference=" + "%F0%9F%93%B7" * 128, "📷" * 128),
    ],
)
def test_a_reference_is_what_the_client_wrote(query: str, expected: str | None) -> None:
    """UTF-8, percent-encoded or not."""
    assert reference_of({"query_string": query.encode()}) == expected


@pytest.mark.parametrize("value", ["", "a" * 129, "%0A", "a%00", "%C3", "%E2%80%AE", "%7F", "%EF%BF%BD"])
def test_what_cannot_be_shown_is_no_reference(value: str) -> None:
    """Nothing, too much, control characters, what turns text around, what is not UTF-8."""
    with pytest.raises(MalformedReference, match="1 to 128 printable characters"):
        reference_of({"query_string": f"reference={value}".encode()})
