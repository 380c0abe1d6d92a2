"""The grammar of variants, and the arithmetic of fitting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.variants import MAX_SIDE, OUTPUT_FORMATS, Variant, fit_size, parse_variants


def test_the_default_ladder_is_read() -> None:
    """Entries without a format or quality are JPEG at 80, in the order given."""
    variants = parse_variants("large=1600,medium=800,small=320,thumb=96")
    assert [(each.name, each.side) for each in variants] == [
        ("large", 1600),
        ("medium", 800),
        ("small", 320),
        ("thumb", 96),
    ]
    assert {(each.format, each.quality, each.animated) for each in variants} == {("jpeg", 80, False)}


def test_every_part_of_an_entry_is_read() -> None:
    """Format, animation and quality are read; spaces around entries are not part of them."""
    assert parse_variants(" a=10@webp+anim:55 , b-2_=1@png ,c=16384@avif:100,d=5:1") == (
        Variant("a", 10, "webp", 55, True),
        Variant("b-2_", 1, "png"),
        Variant("c", 16384, "avif", 100),
        Variant("d", 5, "jpeg", 1),
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "At least one"),
        (" ", "At least one"),
        ("large", "'large' is not of the form"),
        ("a=1,,b=2", "'' is not of the form"),
        ("=100", "needs a name"),
        ("Large=100", "needs a name"),
        ("a.b=100", "needs a name"),
        ("a" * 33 + "=1", "needs a name"),
        ("é=1", "needs a name"),
        ("events=100", "cannot be called 'events'"),
        ("a=", "side from 1 to 16384"),
        ("a=0", "side from 1 to 16384"),
        ("a=16385", "side from 1 to 16384"),
        ("a=-5", "side from 1 to 16384"),
        ("a=1e3", "side from 1 to 16384"),
        ("a=٣", "side from 1 to 16384"),
        ("a=99999999999999999999", "side from 1 to 16384"),
        ("a=10@", "format that is none of"),
        ("a=10@gif", "format that is none of"),
        ("a=10@JPEG", "format that is none of"),
        ("a=10@webp+", "'+anim'"),
        ("a=10@webp+loop", "'+anim'"),
        ("a=10@png+anim", "'+anim'"),
        ("a=10:", "quality from 1 to 100"),
        ("a=10:0", "quality from 1 to 100"),
        ("a=10:101", "quality from 1 to 100"),
        ("a=10:8 0", "quality from 1 to 100"),
        ("a=10,b=20,a=30", "'a' is named twice"),
        (",".join(f"v{number}=10" for number in range(65)), "65 variants"),
    ],
)
def test_a_bad_entry_is_named_in_one_sentence(text: str, complaint: str) -> None:
    """The error names the entry and what is wrong with it, on one line."""
    with pytest.raises(ValueError, match="variant") as refusal:
        parse_variants(text)
    said = str(refusal.value)
    assert complaint in said
    assert said.endswith(".")
    assert "\n" not in said


_VARIANTS = st.builds(
    Variant,
    name=st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True).filter(lambda name: name != "events"),
    side=st.integers(1, MAX_SIDE),
    format=st.sampled_from(OUTPUT_FORMATS),
    quality=st.integers(1, 100),
)


@given(st.lists(_VARIANTS, min_size=1, max_size=8, unique_by=lambda each: each.name), st.booleans())
def test_a_spec_reads_back_as_its_variant(variants: list[Variant], animated: bool) -> None:
    """`spec` and `parse_variants` are inverse."""
    variants = [
        Variant(v.name, v.side, v.format, v.quality, animated and v.format == "webp") for v in variants
    ]
    assert parse_variants(",".join(each.spec for each in variants)) == tuple(variants)


@given(st.text(max_size=60))
def test_any_text_is_variants_or_a_value_error(text: str) -> None:
    """The parser raises nothing but ValueError."""
    try:
        assert parse_variants(text)
    except ValueError as error:
        assert str(error).endswith(".")  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((4032, 3024), 1600, (1600, 1200)),
        ((3024, 4032), 1600, (1200, 1600)),
        ((100, 50), 100, (100, 50)),
        ((100, 50), 1600, (100, 50)),
        ((10_000, 1), 100, (100, 1)),
        ((1, 10_000), 1, (1, 1)),
        ((3, 2), 2, (2, 1)),
    ],
)
def test_fitting_keeps_the_aspect(size: tuple[int, int], side: int, expected: tuple[int, int]) -> None:
    """The longest side has the wanted length, the other follows; it is at least one pixel."""
    assert fit_size(*size, side) == expected


@given(st.integers(1, 70_000), st.integers(1, 70_000), st.integers(1, MAX_SIDE))
def test_fitting_never_enlarges(width: int, height: int, side: int) -> None:
    """No side grows, exceeds the wanted length, or becomes zero."""
    new_width, new_height = fit_size(width, height, side)
    assert 1 <= new_width <= min(width, side)
    assert 1 <= new_height <= min(height, side)
