"""Variants of every shape are made of the cheapest picture that suffices, and show the right part."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import distance, pixel
from workers import cascade
from workers.cascade import Cascade, Step, first_step, make_targets, map_box
from workers.decode import Bounds, decode, open_image
from workers.orientation import SIDEWAYS, make_upright, stored_box
from workers.scaling import resize
from workers.shapes import Rect, Size, place
from workers.variants import Fit, read_specs

Seen = Callable[..., Image.Image]

WIDE, TALL = (240, 120), (120, 240)


def chart(size: Size) -> Image.Image:
    """A picture whose red grows from left to right, and whose green grows from top to bottom."""
    ramp = Image.linear_gradient("L")
    red, green = (
        ramp.rotate(90).resize(size, Image.Resampling.BILINEAR),
        ramp.resize(size, Image.Resampling.BILINEAR),
    )
    return Image.merge("RGB", (red, green, Image.new("L", size, 128)))


def png(image: Image.Image) -> bytes:
    """The picture as a PNG."""
    return samples.encoded(image, "png", 1)


def centre_of(size: Size) -> Callable[[Size], Rect]:
    """The middle of a picture of this size."""
    return lambda part: place(Fit.COVER, size, part)


@pytest.mark.parametrize(
    ("size", "fit", "box"),
    [
        (WIDE, "cover", (60, 0, 180, 120)),
        (WIDE, "cover-left", (0, 0, 120, 120)),
        (WIDE, "cover-right", (120, 0, 240, 120)),
        (WIDE, "cover-top", (60, 0, 180, 120)),
        (TALL, "cover-top", (0, 0, 120, 120)),
        (TALL, "cover-bottom", (0, 120, 120, 240)),
        (TALL, "cover-center", (0, 60, 120, 180)),
    ],
)
@pytest.mark.parametrize("ladder", [(), ("large=200", "small=100")])
def test_a_cover_shows_the_part_that_it_is_to_keep(
    making: Making, size: Size, fit: str, box: tuple[int, int, int, int], ladder: tuple[str, ...]
) -> None:
    """Alone, and when it is made of a smaller copy, it is the cut of the source."""
    done, files = making(png(chart(size)), f"a=40x40/{fit}@png", *ladder)
    assert (done.made[0].width, done.made[0].height) == (40, 40)
    with Image.open(files["a"]) as made:
        wanted = chart(size).resize((40, 40), Image.Resampling.LANCZOS, box)
        assert max(ImageStat.Stat(ImageChops.difference(made, wanted)).mean) < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["jpeg", "png"])
def test_a_cut_is_that_of_the_upright_picture(seen: Seen, format_: str, orientation: int) -> None:
    """In every orientation, and whether or not the decoder reduces the picture."""
    stored = samples.stored_as(orientation, chart((480, 240)))
    made = seen(samples.encoded(stored, format_, orientation), "a=30x30/cover-right@png")
    wanted = chart((480, 240)).resize((30, 30), Image.Resampling.LANCZOS, (240, 0, 480, 240))
    assert max(ImageStat.Stat(ImageChops.difference(made, wanted)).mean) < 3


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.integers(1, 8),
)
def test_a_part_of_the_upright_picture_is_found_in_the_stored_one(
    size: Size, edges: tuple[float, float, float, float], orientation: int
) -> None:
    """Cut and then turned, it is the same as turned and then cut."""
    left, right = sorted(int(edge * (size[0] - 1)) for edge in edges[:2])
    top, bottom = sorted(int(edge * (size[1] - 1)) for edge in edges[2:])
    box = (left, top, right + 1, bottom + 1)
    upright = chart(size)
    stored = samples.stored_as(orientation, upright)
    assert (stored.size == size) == (orientation not in SIDEWAYS or size[0] == size[1])
    cut = stored.crop(tuple(map(int, stored_box(box, size, orientation))))
    assert make_upright(cut, orientation).tobytes() == upright.crop(box).tobytes()


def test_each_variant_is_made_of_the_smallest_picture_that_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cover comes from the next larger copy of the whole, a smaller one of the same cut from that."""
    read: list[tuple[str, Size]] = []

    def note(image: Image.Image, size: Size, box: cascade.Box) -> Image.Image:
        read.append((f"{image.width}x{image.height}", size))
        return resize(image, size, box)

    monkeypatch.setattr(cascade, "resize", note)
    variants = read_specs(
        [
            *("large=1600", "medium=800", "small=320"),
            *("avatar=256x256/cover", "icon=64x64/cover", "left=50x50/cover-left"),
        ]
    )
    targets = make_targets(variants, (4032, 3024), centre_of((4032, 3024)))
    part, size = first_step(targets)
    assert (part, size) == (Rect(0, 0, 4032, 3024), (1600, 1200))
    chain = Cascade(Step(Image.new("RGB", size), part))
    made = {target.variant.name: chain.make(target).size for target in targets}
    assert made == {
        "large": (1600, 1200),
        "medium": (800, 600),
        "avatar": (256, 256),
        "small": (320, 240),
        "icon": (64, 64),
        "left": (50, 50),
    }
    assert read == [
        ("1600x1200", (1600, 1200)),
        ("1600x1200", (800, 600)),
        ("800x600", (256, 256)),
        ("800x600", (320, 240)),
        ("320x240", (64, 64)),
        ("320x240", (50, 50)),
    ]


@pytest.mark.parametrize(
    ("size", "orientation", "specs", "decoded"),
    [
        ((1600, 800), 1, ["a=100x100/cover"], (200, 100)),
        ((1600, 800), 1, ["a=100x100/cover", "b=300"], (400, 200)),
        ((1600, 800), 6, ["a=100x"], (200, 100)),
        ((1600, 800), 6, ["a=x100"], (200, 100)),
        ((1600, 800), 6, ["a=x400"], (800, 400)),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_its_shapes_need(
    tmp_path: Path, size: Size, orientation: int, specs: list[str], decoded: Size
) -> None:
    """The decoder reduces it; of a photo that lies on its side, the upright sides count."""
    path = tmp_path / "photo"
    path.write_bytes(samples.jpeg(*size, orientation=orientation))
    variants = read_specs(specs)
    with open_image(path, Bounds(10**8, 2**30, variants)) as source:
        stored = decode(source, variants).size
    assert stored in (decoded, decoded[::-1])


def test_only_what_is_needed_is_scaled() -> None:
    """Where no variant shows the whole picture, the rest is cut off before it is scaled."""
    targets = make_targets(
        read_specs(["a=100x100/cover", "b=50x50/cover"]), (2000, 200), centre_of((2000, 200))
    )
    assert first_step(targets) == (Rect(900, 0, 200, 200), (100, 100))
    targets = make_targets(
        read_specs(["a=100x100/cover-left", "b=50x50/cover"]), (400, 200), centre_of((400, 200))
    )
    assert first_step(targets) == (Rect(0, 0, 300, 200), (150, 100))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 3), (331, 77)])
def test_every_shape_is_made_of_every_picture(making: Making, size: Size) -> None:
    """The thinnest pictures too: no side becomes zero, and none is enlarged."""
    specs = [f"{fit}=30x20/{fit}" for fit in Fit] + ["w=9x", "h=x9", "s=7"]
    done, files = making(samples.jpeg(*size), *specs)
    for made in done.made:
        with Image.open(files[made.name]) as image:
            assert image.size == (made.width, made.height)
            assert image.width <= size[0]
            assert image.height <= size[1]


def test_an_animation_is_cut_in_the_same_place_in_all_frames(making: Making) -> None:
    """The subject of the first frame decides, though later ones have theirs elsewhere."""
    frames = [Image.new("RGB", (120, 60), (120, 130, 140)) for _ in range(3)]
    for frame, left in zip(frames, (90, 10, 50), strict=True):
        frame.paste(Image.effect_noise((24, 24), 90).convert("RGB"), (left, 20))
        frame.paste((200, 30, 30), (0, 0, 4, 60))
    file = BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=100)
    done, files = making(
        file.getvalue(), "a=60x60/cover-right@webp+anim", "b=30x30/cover-smart@webp+anim", "c=60x"
    )
    assert [(made.width, made.height) for made in done.made] == [(60, 60), (30, 30), (60, 30)]
    with Image.open(files["a"]) as moving:
        assert moving.n_frames == 3
        for index, frame in enumerate(frames):
            moving.seek(index)
            wanted = frame.crop((60, 0, 120, 60))
            assert max(ImageStat.Stat(ImageChops.difference(moving.convert("RGB"), wanted)).mean) < 8


def test_map_box_is_exact_at_the_edges() -> None:
    """The whole is the whole, whatever the scale, so that nothing is lost to rounding."""
    whole = Rect(0, 0, 1999, 1333)
    assert map_box(whole, whole, (333, 222)) == (0, 0, 333, 222)
    assert map_box(Rect(1000, 0, 999, 1333), whole, (500, 334))[2:] == (500, 334)


@pytest.mark.parametrize(
    ("background", "shown"), [("white", (255, 255, 255)), ("#f00", (255, 0, 0)), ("teal", (0, 128, 128))]
)
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_background_shows_through(
    making: Making, background: str, shown: tuple[int, int, int], mode: str
) -> None:
    """In a JPEG, of grey pictures too; formats with transparency keep it."""
    data = png(Image.new(mode, (32, 32)))
    _, files = making(data, "a=32", "b=32@png", background=background)
    with Image.open(files["a"]) as flat, Image.open(files["b"]) as kept:
        assert distance(pixel(flat.convert("RGB"), 16, 16), shown) <= 2
        assert pixel(kept.convert("RGBA"), 16, 16)[3] == 0
