"""`+p3` keeps the colours of Display P3, and `BACKGROUND` is one of the same colours."""

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import distance, pixel
from workers.cicp import make_profile
from workers.colour import P3_PROFILE

Seen = Callable[..., Image.Image]

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# A telephone's profile: the primaries and the curve of Display P3, as another program writes them.
TELEPHONE = samples.rgb_profile(2.2, (0.6797, 0.3203), (0.2868, 0.6590), (0.1555, 0.0666))
ADOBE = samples.rgb_profile(2.2, (0.6484, 0.3309), (0.2309, 0.7013), (0.1559, 0.0660))
OF_SRGB = samples.rgb_profile(2.2, (0.6484, 0.3309), (0.3212, 0.5979), (0.1559, 0.0660))
GREEN = (0, 255, 0)
"""In each of these, the strongest green that it has."""


def flat(colour: tuple[int, ...] | int, icc: bytes | None, mode: str = "RGB", format_: str = "PNG") -> bytes:
    """A picture of one colour with a profile."""
    file = BytesIO()
    Image.new(mode, (16, 16), colour).save(file, format_, **({} if icc is None else {"icc_profile": icc}))
    return file.getvalue()


def lab(image: Image.Image, icc: bytes | None) -> tuple[int, ...]:
    """The colour of a picture's middle in CIELAB (8 bits each), by the colour management of Pillow."""
    profile = SRGB if icc is None else ImageCms.ImageCmsProfile(BytesIO(icc))
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("LAB"), "RGB", "LAB")
    seen = ImageCms.applyTransform(image.convert("RGB"), transform)
    assert seen is not None
    return pixel(seen, 8, 8)


def test_the_profile_is_that_of_display_p3() -> None:
    """Its primaries and its white are those of the definition, its curve is that of sRGB; it is small."""
    assert len(P3_PROFILE) < 500
    profile = ImageCms.ImageCmsProfile(BytesIO(P3_PROFILE)).profile
    assert profile.version == pytest.approx(4.3)
    assert profile.profile_description == "Display P3"
    for known, stated in (
        (profile.red_primary, (0.680, 0.320)),
        (profile.green_primary, (0.265, 0.690)),
        (profile.blue_primary, (0.150, 0.060)),
    ):
        assert unadapted(known[0], profile.chromatic_adaptation[0]) == pytest.approx(stated, abs=0.001)
    white = unadapted(profile.media_white_point[0], profile.chromatic_adaptation[0])
    assert white == pytest.approx((0.3127, 0.3290), abs=0.0005)
    # Greys have the same numbers in both spaces, for they have the same curve and the same white.
    ramp = Image.linear_gradient("L").convert("RGB")
    same = ImageCms.profileToProfile(ramp, SRGB, ImageCms.ImageCmsProfile(BytesIO(P3_PROFILE)))
    assert same is not None
    assert max(abs(a - b) for a, b in zip(same.tobytes(), ramp.tobytes(), strict=True)) <= 1


def unadapted(xyz: tuple[float, ...], adaptation: tuple[tuple[float, ...], ...]) -> tuple[float, float]:
    """The chromaticity of a colour before it was adapted to D50: solved by Cramer's rule."""

    def determinant(m: list[list[float]]) -> float:
        return sum(
            m[0][i] * (m[1][(i + 1) % 3] * m[2][(i + 2) % 3] - m[1][(i + 2) % 3] * m[2][(i + 1) % 3])
            for i in range(3)
        )

    rows = [list(row) for row in adaptation]
    solved = []
    for column in range(3):
        replaced = [
            [value if at != column else xyz[index] for at, value in enumerate(row)]
            for index, row in enumerate(rows)
        ]
        solved.append(determinant(replaced) / determinant(rows))
    return solved[0] / sum(solved), solved[1] / sum(solved)


@pytest.mark.parametrize("format_", ["jpeg", "webp", "avif", "png"])
@pytest.mark.parametrize("icc", [TELEPHONE, ADOBE], ids=["telephone", "Adobe RGB"])
def test_colours_beyond_srgb_are_kept(making: Making, format_: str, icc: bytes) -> None:
    """With a profile of our own; another variant of the photo is in sRGB, without one.

    The green of Adobe RGB is outside Display P3 as well, but less so.
    """
    _, files = making(flat(GREEN, icc), f"a=16@{format_}+p3:100", f"b=16@{format_}:100")
    wanted = lab(Image.new("RGB", (16, 16), GREEN), icc)
    with Image.open(files["a"]) as wide, Image.open(files["b"]) as narrow:
        assert wide.info["icc_profile"] == P3_PROFILE
        assert "icc_profile" not in narrow.info
        kept, lost = (distance(lab(each, of), wanted) for each, of in ((wide, P3_PROFILE), (narrow, None)))
        assert kept <= (6 if icc is TELEPHONE else 24)
        assert lost >= kept + 6


@pytest.mark.parametrize(
    ("mode", "colour", "icc"),
    [
        ("RGB", GREEN, None),
        ("RGB", GREEN, OF_SRGB),
        ("RGB", GREEN, TELEPHONE[:200]),
        ("L", 128, TELEPHONE),
        ("LA", (128, 99), None),
    ],
    ids=["no profile", "sRGB", "broken", "grey", "grey with alpha"],
)
def test_a_source_within_srgb_stays_srgb(
    making: Making, mode: str, colour: tuple[int, ...] | int, icc: bytes | None
) -> None:
    """It is the same file as without `+p3`."""
    _, files = making(flat(colour, icc, mode), "a=16@png+p3", "b=16@png")
    assert files["a"].read_bytes() == files["b"].read_bytes()


def test_colours_that_code_points_name_are_kept_too(making: Making) -> None:
    """A PNG whose chunk cICP names Display P3 (12, with the curve of sRGB)."""
    data = samples.raw_png(
        16, 16, 8, 2, samples.packed_rows(16, 16, bytes(GREEN)), cICP=bytes((12, 13, 0, 1))
    )
    _, files = making(data, "a=16@png+p3")
    with Image.open(files["a"]) as made:
        assert made.info["icc_profile"] == P3_PROFILE
        assert distance(pixel(made.convert("RGB"), 8, 8), GREEN) <= 2
    assert make_profile((12, 13)) is not None


def test_an_animation_keeps_them_in_all_frames(making: Making) -> None:
    """With transparency as well, whose flag is set beside that of the profile."""
    frames = [Image.new("RGBA", (16, 16), (0, 255, 0, alpha)) for alpha in (255, 0, 255)]
    file = BytesIO()
    frames[0].save(
        file, "PNG", save_all=True, append_images=frames[1:], duration=90, disposal=1, icc_profile=TELEPHONE
    )
    _, files = making(file.getvalue(), "a=16@webp+p3+anim", "b=16@webp+anim")
    with Image.open(files["a"]) as wide, Image.open(files["b"]) as narrow:
        assert (wide.n_frames, narrow.n_frames) == (3, 3)
        assert wide.info["icc_profile"] == P3_PROFILE
        assert "icc_profile" not in narrow.info
        wide.seek(1)
        assert pixel(wide.convert("RGBA"), 8, 8)[3] == 0


def test_the_background_is_the_same_colour_in_both_spaces(making: Making) -> None:
    """`BACKGROUND` is a colour of sRGB, whose numbers in Display P3 are others."""
    data = flat((0, 255, 0, 0), TELEPHONE, "RGBA")
    _, files = making(data, "a=16@jpeg+p3:100", "b=16:100", background="#ff0000")
    with Image.open(files["a"]) as wide, Image.open(files["b"]) as narrow:
        assert distance(pixel(narrow, 8, 8), (255, 0, 0)) <= 2
        assert distance(pixel(wide, 8, 8), (234, 51, 35)) <= 3
        assert distance(lab(wide, P3_PROFILE), lab(narrow, None)) <= 3


def test_nothing_else_of_the_source_is_in_the_file(making: Making) -> None:
    """The profile is ours: that of the source, which names its owner's device, is not copied."""
    _, files = making(flat(GREEN, TELEPHONE), "a=16@jpeg+p3")
    assert samples.SECRET not in files["a"].read_bytes()
