"""The grammar of variants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.variants import (
    MAX_SIDE,
    OUTPUT_FORMATS,
    RESERVED_NAMES,
    Fit,
    Variant,
    parse_variants,
    read_specs,
)


def test_the_default_ladder_is_read() -> None:
    """Entries without a format or quality are JPEG at 80, in the order given."""
    variants = parse_variants("large=1600,medium=800,small=320,thumb=96")
    assert [(each.name, each.width, each.height) for each in variants] == [
        ("large", 1600, 1600),
        ("medium", 800, 800),
        ("small", 320, 320),
        ("thumb", 96, 96),
    ]
    assert {(each.fit, each.format, each.quality, each.animated, each.p3) for each in variants} == {
        (Fit.CONTAIN, "jpeg", 80, False, False)
    }


def test_every_part_of_an_entry_is_read() -> None:
    """Size, fit, format, additions and quality are read; spaces around entries are not part of them."""
    assert parse_variants(
        " a=10@webp+anim:55 , b-2_=1@png ,c=16384@avif:100,d=5:1,e=7x,f=x9,g=4x3/cover-smart@webp:80,"
        "h=4x3/contain,i=4x3/cover-center@jpeg+p3,j=9@webp+p3+anim"
    ) == (
        Variant("a", 10, 10, format="webp", quality=55, animated=True),
        Variant("b-2_", 1, 1, format="png"),
        Variant("c", MAX_SIDE, MAX_SIDE, format="avif", quality=100),
        Variant("d", 5, 5, quality=1),
        Variant("e", 7, MAX_SIDE),
        Variant("f", MAX_SIDE, 9),
        Variant("g", 4, 3, Fit.SMART, "webp"),
        Variant("h", 4, 3),
        Variant("i", 4, 3, Fit.COVER, p3=True),
        Variant("j", 9, 9, format="webp", animated=True, p3=True),
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "At least one"),
        (" ", "At least one"),
        ("large", "'large' is not of the form"),
        ("a=1,,b=2", "'' is not of the form"),
        ("=100", "name '' of the variant '=100' is not 1 to 32 letters"),
        ("Large=100", "name 'Large'"),
        ("a" * 33 + "=1", "is not 1 to 32 letters"),
        ("é=1", "name 'é'"),
        ("events=100", "cannot be called 'events'"),
        ("original=100", "cannot be called 'original'"),
        ("variants=1x2/cover", "'variants=1x2/cover' cannot be called 'variants'"),
        ("a=", "size '' of the variant 'a=' is not a number: sizes are 1600"),
        ("a=0", "size '0' of the variant 'a=0' is outside 1 to 16384 pixels"),
        ("a=16385", "is outside 1 to 16384 pixels"),
        ("a=0x300", "size '0x300' of the variant 'a=0x300' is outside 1 to 16384"),
        ("a=300x20000", "size '300x20000' of the variant 'a=300x20000' is outside"),
        ("a=-5", "size '-5'"),
        ("a=1e3", "size '1e3'"),
        ("a=٣", "is not a number"),
        ("a=99999999999999999999", "is not a number"),
        ("a=x", "size 'x' of the variant 'a=x' has no number"),
        ("a=4x3x2", "size '4x3x2'"),
        ("a=4 x3", "size '4 x3' of the variant 'a=4 x3' is not a number"),
        ("a= 40", "size ' 40'"),
        ("a=4X3", "size '4X3'"),
        ("a=40/cover", "fit 'cover' of the variant 'a=40/cover' needs a box, such as 400x300"),
        ("a=40x/contain", "needs a box"),
        ("a=x40/cover-top", "needs a box"),
        ("a=4x3/", "fit '' of the variant 'a=4x3/' is none of contain, cover, cover-top"),
        ("a=4x3/fill", "fit 'fill'"),
        ("a=4x3/cover/cover", "fit 'cover/cover'"),
        ("a=10@webp/cover", "format 'webp/cover'"),
        ("a=10@", "format '' of the variant 'a=10@' is none of jpeg, webp"),
        ("a=10@gif", "format 'gif'"),
        ("a=10@JPEG", "format 'JPEG'"),
        ("a=10@webp+", "addition '+' of the variant 'a=10@webp+' is neither +anim nor +p3"),
        ("a=10@webp+loop", "addition '+loop'"),
        ("a=10@png+anim", "addition '+anim' of the variant 'a=10@png+anim' is for the format webp"),
        ("a=10@webp+p3+p3", "addition '+p3' of the variant 'a=10@webp+p3+p3' is there twice"),
        ("a=10:", "quality '' of the variant 'a=10:' is not a number: 1 to 100 is possible"),
        ("a=10:0", "quality '0' of the variant 'a=10:0' is outside 1 to 100."),
        ("a=10:101", "outside 1 to 100"),
        ("a=10:8 0", "quality '8 0'"),
        ("a=10,b=20,a=30", "'a' is named twice"),
        (",".join(f"v{number}=10" for number in range(65)), "65 variants"),
    ],
)
def test_a_mistake_is_named_with_its_entry_and_place(text: str, complaint: str) -> None:
    """The error is one sentence on one line."""
    with pytest.raises(ValueError, match="variant") as refusal:
        parse_variants(text)
    said = str(refusal.value)
    assert complaint in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize("spec", ["original=100", "variants=96", "events=64"])
def test_a_record_may_have_a_name_that_was_reserved_later(spec: str) -> None:
    """Earlier versions had fewer addresses, and their jobs can still be read."""
    assert read_specs([spec, "a=1"])[0].spec == spec


_FITS = st.sampled_from(list(Fit))
_VARIANTS = st.builds(
    Variant,
    name=st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True).filter(lambda name: name not in RESERVED_NAMES),
    width=st.integers(1, MAX_SIDE) | st.just(MAX_SIDE),
    height=st.integers(1, MAX_SIDE) | st.just(MAX_SIDE),
    fit=_FITS,
    format=st.sampled_from(OUTPUT_FORMATS),
    quality=st.integers(1, 100),
    animated=st.just(False),
    p3=st.booleans(),
) | st.builds(
    Variant,
    name=st.just("moving"),
    width=st.integers(1, MAX_SIDE),
    height=st.integers(1, MAX_SIDE),
    fit=_FITS,
    format=st.just("webp"),
    quality=st.integers(1, 100),
    animated=st.just(True),
    p3=st.booleans(),
)


@given(st.lists(_VARIANTS, min_size=1, max_size=8, unique_by=lambda each: each.name))
def test_a_spec_reads_back_as_its_variant(variants: list[Variant]) -> None:
    """`spec` and `parse_variants` are inverse, whichever way a size is spelt."""
    assert parse_variants(",".join(each.spec for each in variants)) == tuple(variants)


@given(st.text(max_size=60) | st.text("ab=x/0123456789@+:,- coverptwnim", max_size=60))
def test_any_text_is_variants_or_a_value_error(text: str) -> None:
    """The parser raises nothing but ValueError."""
    try:
        assert parse_variants(text)
    except ValueError as error:
        assert str(error).endswith(".")  # noqa: PT017 (either outcome is right)


def test_the_most_needed_variant_has_the_fewest_pixels() -> None:
    """A side that is not limited counts as long as the other one."""
    variants = parse_variants("a=400x300/cover,b=320,c=500x,d=x340,e=16384x10/cover")
    assert [each.area for each in variants] == [120_000, 102_400, 250_000, 115_600, 163_840]
