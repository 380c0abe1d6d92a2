"""The arithmetic of shapes: what part of a picture a variant shows, and at what size."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.shapes import Size, box_of, cut_size, fit_inside, needed_size, output_size, place
from workers.variants import MAX_SIDE, Fit, Variant, read_specs

SIDES = st.integers(1, 70_000)
SIZES = st.tuples(SIDES, SIDES)
BOXES = st.tuples(st.integers(1, MAX_SIDE), st.integers(1, MAX_SIDE))
COVERS = st.sampled_from([fit for fit in Fit if fit is not Fit.CONTAIN])


@pytest.mark.parametrize(
    ("size", "spec", "cut", "made"),
    [
        ((4032, 3024), "a=1600", (4032, 3024), (1600, 1200)),
        ((3024, 4032), "a=1600", (3024, 4032), (1200, 1600)),
        ((4032, 3024), "a=1600x", (4032, 3024), (1600, 1200)),
        ((3024, 4032), "a=1600x", (3024, 4032), (1600, 2133)),
        ((4032, 3024), "a=x900", (4032, 3024), (1200, 900)),
        ((4032, 3024), "a=400x400", (4032, 3024), (400, 300)),
        ((100, 50), "a=1600", (100, 50), (100, 50)),
        ((10_000, 1), "a=100", (10_000, 1), (100, 1)),
        ((1, 10_000), "a=1", (1, 10_000), (1, 1)),
        ((3, 2), "a=2", (3, 2), (2, 1)),
        ((10, 40_000), "a=9x", (10, 40_000), (4, 16_384)),
        ((20_000, 20_000), "a=16384@webp", (20_000, 20_000), (16_383, 16_383)),
        ((4032, 3024), "a=256x256/cover", (3024, 3024), (256, 256)),
        ((3024, 4032), "a=1600x900/cover", (3024, 1701), (1600, 900)),
        ((4000, 3000), "a=300x400/cover-left", (2250, 3000), (300, 400)),
        ((300, 200), "a=400x400/cover", (200, 200), (200, 200)),
        ((500, 300), "a=400x400/cover", (300, 300), (300, 300)),
        ((400, 400), "a=400x300/cover", (400, 300), (400, 300)),
        ((5, 3), "a=2x1/cover", (5, 3), (2, 1)),
        ((5, 3), "a=16384x1/cover", (5, 1), (5, 1)),
        ((1, 1), "a=1x16384/cover", (1, 1), (1, 1)),
    ],
)
def test_the_size_of_a_variant(size: Size, spec: str, cut: Size, made: Size) -> None:
    """Exactly the box where the picture is large enough, and never more than there is."""
    (variant,) = read_specs([spec])
    assert (cut_size(variant, size), output_size(variant, size)) == (cut, made)


@given(SIZES, BOXES)
def test_contain_shows_all_of_it_in_its_shape(size: Size, box: Size) -> None:
    """It fits, is not enlarged, meets the box at one side, and the other is right to half a pixel."""
    (width, height), (made_width, made_height) = size, fit_inside(size, box)
    assert 1 <= made_width <= min(width, box[0])
    assert 1 <= made_height <= min(height, box[1])
    if width > box[0] or height > box[1]:
        assert made_width == box[0] or made_height == box[1]
        wanted = min(box[0] / width, box[1] / height)
        assert abs(made_width - max(1, width * wanted)) <= 0.5 + 1e-9
        assert abs(made_height - max(1, height * wanted)) <= 0.5 + 1e-9


@given(SIZES, BOXES, COVERS, st.sampled_from(["jpeg", "webp"]))
@example((20_000, 20_000), (MAX_SIDE, MAX_SIDE), Fit.COVER, "webp")
def test_cover_is_the_largest_cut_of_the_shape(size: Size, box: Size, fit: Fit, format_: str) -> None:
    """One side of the picture is whole, and the other one is right to half a pixel; nothing is enlarged."""
    variant = Variant("a", *box, fit, format_)
    cut, made, box = cut_size(variant, size), output_size(variant, size), box_of(variant)
    assert cut[0] == size[0] or cut[1] == size[1]
    assert 1 <= cut[0] <= size[0]
    assert 1 <= cut[1] <= size[1]
    if cut[1] == size[1]:
        assert abs(cut[0] - max(1, size[1] * box[0] / box[1])) <= 0.5 + 1e-9 or cut[0] == size[0]
    if cut[0] == size[0]:
        assert abs(cut[1] - max(1, size[0] * box[1] / box[0])) <= 0.5 + 1e-9 or cut[1] == size[1]
    assert made == (box if size[0] >= box[0] and size[1] >= box[1] else cut)


@given(SIZES, BOXES, COVERS)
def test_a_cut_keeps_the_side_that_it_is_to_keep(size: Size, box: Size, fit: Fit) -> None:
    """It lies within the picture; from the middle, at most one pixel more is left on the right and below."""
    part = cut_size(Variant("a", *box, fit), size)
    where = place(fit, size, part)
    left, top = where.left, where.top
    right, bottom = size[0] - left - part[0], size[1] - top - part[1]
    assert min(left, top, right, bottom) >= 0
    assert where[2:] == part
    expected = {Fit.LEFT: left, Fit.RIGHT: right, Fit.TOP: top, Fit.BOTTOM: bottom}
    if fit in expected:
        assert expected[fit] == 0
    if fit in (Fit.COVER, Fit.TOP, Fit.BOTTOM):
        assert right - left in (0, 1)
    if fit in (Fit.COVER, Fit.LEFT, Fit.RIGHT):
        assert bottom - top in (0, 1)


@given(SIZES, st.lists(st.tuples(BOXES, st.sampled_from(list(Fit))), min_size=1, max_size=4))
def test_a_picture_that_is_reduced_as_far_as_possible_still_suffices(
    size: Size, boxes: list[tuple[Size, Fit]]
) -> None:
    """No variant has to be enlarged from it, and it is no larger than the source."""
    variants = [Variant(f"v{index}", *box, fit) for index, (box, fit) in enumerate(boxes)]
    needed = needed_size(variants, size)
    for whole, reduced, parts, made in zip(
        size,
        needed,
        zip(*(cut_size(each, size) for each in variants), strict=True),
        zip(*(output_size(each, size) for each in variants), strict=True),
        strict=True,
    ):
        assert 1 <= reduced <= whole
        assert all(reduced * part >= wanted * whole for part, wanted in zip(parts, made, strict=True))
