"""Kinds of TIFF that Pillow shows wrongly or refuses show their picture."""

import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests import samples
from tests.samples import TiffKind
from tests.samples.raw_tiff import Layout, raw_tiff
from tests.workers.conftest import Making
from tests.workers.corners import Colour, corners, distance, pixel, shows_the_picture
from workers.failures import JobError

Seen = Callable[..., Image.Image]

_CASES = Path(__file__).parent / "cases"
_LAYOUTS = [
    {"tile": 0, "deflate": False, "planes": False},
    {"tile": 32, "deflate": True, "planes": False},
    {"tile": 0, "deflate": True, "planes": True},
    {"tile": 32, "deflate": False, "planes": True},
]


def _difference(image: Image.Image, expected: Image.Image) -> int:
    """The largest difference in any channel, of pixels that both pictures show."""
    difference = ImageChops.difference(image.convert("RGBA"), expected.convert("RGBA"))
    alpha = expected.convert("RGBA").getchannel("A").point(lambda value: 255 if value else 0)
    shown = Image.composite(difference, Image.new("RGBA", image.size), alpha)
    return max(high for _, high in shown.getextrema())


@pytest.mark.parametrize("depth", ["u16", "u32", "f16", "f24", "f32", "f64"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_deep_samples_show_the_picture(seen: Seen, mode: str, depth: str) -> None:
    """In strips and tiles, compressed or not, together or in planes, in both byte orders, small and big."""
    expected = samples.picture(64, 48, mode)
    for number, layout in enumerate(_LAYOUTS[:2] if mode == "L" else _LAYOUTS):
        kind = TiffKind(depth, "<>"[number % 2], big=number in (1, 2), **layout)
        image = seen(samples.sampled_tiff(expected, kind))
        assert _difference(image, expected) <= 1, kind
        assert image.getbands() == expected.getbands()


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 10, 12, 14, 24])
def test_samples_of_unusual_depths_show_the_picture(seen: Seen, bits: int) -> None:
    """A row begins at a whole byte; the width makes that matter."""
    for mode, planes in (("L", False), ("RGB", False), ("RGB", True), ("RGBA", False)):
        expected = samples.picture(61, 48, mode)
        image = seen(samples.sampled_tiff(expected, TiffKind(f"u{bits}", planes=planes)))
        assert _difference(image, expected) <= 1 + 128 // (2**bits - 1), mode


@pytest.mark.parametrize("depth", ["u8", "u16", "u32", "f32"])
def test_zero_is_white_where_the_file_says_so(seen: Seen, depth: str) -> None:
    """The picture is no negative."""
    inverted = ImageChops.invert(samples.picture(64, 48, "L"))
    for order, deflate in itertools.product("<>", (False, True)):
        kind = TiffKind(depth, order, deflate=deflate, photometric=0)
        assert _difference(seen(samples.sampled_tiff(inverted, kind)), samples.picture(64, 48, "L")) <= 1


class TestInks:
    """CMYK, with and without an alpha channel."""

    def test_the_case_of_others_is_shown(self, seen: Seen) -> None:
        """Its corners are red, green, blue and yellow."""
        image = seen((_CASES / "tiff-cmyk-plus-alpha.tif").read_bytes(), "it=160@png")
        plain = [(220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 220, 30)]
        assert all(distance(one, other) <= 2 for one, other in zip(corners(image), plain, strict=True))

    @pytest.mark.parametrize("depth", ["u8", "u16"])
    @pytest.mark.parametrize(
        "layout", _LAYOUTS, ids=lambda layout: "".join(str(int(v > 0)) for v in layout.values())
    )
    def test_alpha_beside_inks_is_alpha(self, seen: Seen, depth: str, layout: dict[str, int]) -> None:
        """The lower half of the picture is transparent, and the inks are those without alpha."""
        inks, alpha = samples.picture(64, 48, "CMYK"), samples.picture(64, 48, "RGBA").getchannel("A")
        for order in "<>":
            kind = TiffKind(depth, order, photometric=5, extra=(2,), **layout)
            image = seen(samples.sampled_tiff([*inks.split(), alpha], kind))
            expected = inks.convert("RGB")
            expected.putalpha(alpha)
            assert image.mode == "RGBA"
            assert _difference(image, expected) <= 3

    def test_inks_that_were_multiplied_by_alpha_are_divided(self, seen: Seen) -> None:
        """Half of the ink at half the opacity is all of it."""
        flat = [Image.new("L", (16, 16), value) for value in (100, 0, 50, 0, 128)]
        image = seen(samples.sampled_tiff(flat, TiffKind("u8", photometric=5, extra=(1,))))
        expected = Image.new("CMYK", (1, 1), (199, 0, 100, 0)).convert("RGB")
        assert distance(pixel(image, 8, 8), (*pixel(expected, 0, 0), 128)) <= 3

    def test_samples_of_no_meaning_are_passed_over(self, seen: Seen) -> None:
        """An extra sample without a stated meaning is no alpha channel; a later one is."""
        inks = samples.picture(64, 48, "CMYK")
        noise, alpha = Image.new("L", (64, 48), 7), Image.new("L", (64, 48), 200)
        image = seen(samples.sampled_tiff([*inks.split(), noise], TiffKind(photometric=5, extra=(0,))))
        assert image.mode == "RGB"
        both = TiffKind(photometric=5, extra=(0, 2))
        image = seen(samples.sampled_tiff([*inks.split(), noise, alpha], both))
        assert image.getchannel("A").getextrema() in ((199, 199), (200, 200))

    def test_the_profile_of_the_press_is_used(self, seen: Seen) -> None:
        """With alpha as without."""
        press = samples.cmyk_profile({(1, 0, 0, 0): (128, 100, 150)})
        flat = [Image.new("L", (16, 16), value) for value in (255, 0, 0, 0, 200)]
        kind = TiffKind("u8", photometric=5, extra=(2,), more=((34_675, press),))
        with_alpha = pixel(seen(samples.sampled_tiff(flat, kind)), 8, 8)
        kind = TiffKind("u8", photometric=5, more=((34_675, press),))
        assert distance(with_alpha[:3], pixel(seen(samples.sampled_tiff(flat[:4], kind)), 8, 8)) <= 1


class TestLab:
    """Colours of CIE L*a*b* have values in sRGB that a formula gives."""

    @pytest.mark.parametrize("colour", [(50, 0, 0), (0, 0, 0), (100, 0, 0), (60, 40, -30), (70, -50, 40)])
    @pytest.mark.parametrize("photometric", [8, 9])
    @pytest.mark.parametrize("bits", [8, 16])
    def test_it_is_converted(self, seen: Seen, colour: Colour, photometric: int, bits: int) -> None:
        """CIELAB has signed numbers, ICCLAB has an offset in their place, and a smaller unit of lightness."""
        unit = 256 if bits == 16 else 1
        lightness = colour[0] * (255 * unit if photometric == 9 or bits == 8 else 65_535) // 100
        shift = 128 * unit if photometric == 9 else 0
        words = [lightness, *((value * unit + shift) % (256 * unit) for value in colour[1:])]
        for order in "<>":
            block = struct.pack(f"{order}3{'H' if bits == 16 else 'B'}", *words) * 256
            entries = {256: [16], 257: [16], 258: [bits] * 3, 259: [1], 262: [photometric], 277: [3]}
            data = raw_tiff(entries | {278: [16]}, Layout([block], order=order))
            assert distance(pixel(seen(data).convert("RGB"), 8, 8), _srgb_of_lab(*colour)) <= 3

    def test_it_may_have_alpha(self, seen: Seen) -> None:
        """The middle grey of both kinds, half transparent."""
        flat = [Image.new("L", (16, 16), value) for value in (127, 128, 128, 128)]
        image = seen(samples.sampled_tiff(flat, TiffKind("u8", photometric=9, extra=(2,))))
        assert distance(pixel(image, 8, 8), (*_srgb_of_lab(50, 0, 0), 128)) <= 2


def _srgb_of_lab(lightness: float, a: float, b: float) -> Colour:
    """A colour of CIE L*a*b* (D50) in sRGB, by CIE 15, IEC 61966-2-1 and Bradford's adaptation to D65."""
    y = (lightness + 16) / 116
    x, z = (
        reference * (value**3 if value > 6 / 29 else 3 * (6 / 29) ** 2 * (value - 4 / 29))
        for reference, value in ((0.9642, y + a / 500), (0.8249, y - b / 200))
    )
    y = y**3 if y > 6 / 29 else 3 * (6 / 29) ** 2 * (y - 4 / 29)
    rows = (
        (3.1338561, -1.6168667, -0.4906146),
        (-0.9787684, 1.9161415, 0.0334540),
        (0.0719453, -0.2289914, 1.4052427),
    )
    light = [min(1.0, max(0.0, r * x + g * y + bl * z)) for r, g, bl in rows]
    return tuple(
        round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055)) for v in light
    )


class TestFloats:
    """Where white is, if floats do not say."""

    @staticmethod
    def _float_tiff(values: list[float], **entries: bytes) -> bytes:
        block = struct.pack(f"<{3 * len(values)}f", *(value for value in values for _ in range(3)))
        tags = {256: [len(values)], 257: [1], 258: [32] * 3, 259: [1], 262: [2], 277: [3], 339: [3] * 3}
        return raw_tiff(
            tags | {278: [1]} | {int(tag[1:]): value for tag, value in entries.items()}, Layout([block])
        )

    @pytest.mark.parametrize("white", [1.0, 255.0, 65_535.0, 2e6])
    def test_values_are_scaled_to_white(self, seen: Seen, white: float) -> None:
        """Programs write values up to 1, 255 or 65 535, or anything."""
        image = seen(self._float_tiff([0, white / 2, white * 0.8, white]))
        assert [pixel(image, x, 0)[1] for x in range(4)] == [0, 128, 204, 255]

    def test_highlights_do_not_darken_the_picture(self, seen: Seen) -> None:
        """In linear light with values above 1, 0.2 is the value 124 of sRGB, and all above 1 is white."""
        image = seen(self._float_tiff([0.0, 0.05, 0.2, 0.5, 1.0, 40.0]))
        assert [pixel(image, x, 0)[1] for x in range(6)] == [0, 63, 124, 188, 255, 255]

    def test_numbers_that_are_none_do_no_harm(self, seen: Seen) -> None:
        """Infinity is white; what is no number has no colour, and the other pixels keep theirs."""
        image = seen(self._float_tiff([float("nan"), -3.0, 0.5, float("inf"), float("-inf"), 0.25]))
        assert [pixel(image, x, 0)[1] for x in (1, 3, 4)] == [0, 255, 0]
        assert pixel(image, 2, 0)[1] > pixel(image, 5, 0)[1] > 60

    def test_a_profile_says_what_the_values_mean(self, seen: Seen) -> None:
        """Light in a linear profile is brightened."""
        linear = samples.rgb_profile(1.0, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
        image = seen(self._float_tiff([0.2, 0.2, 3.0], t34675=linear))
        assert abs(pixel(image, 0, 0)[1] - 124) <= 2
        assert pixel(image, 2, 0)[1] == 255

    def test_linear_light_keeps_its_shadows(self, seen: Seen) -> None:
        """With 8 bits of linear light there would be nothing between 0, 13 and 22."""
        wide = samples.rgb_profile(1.0, (0.68, 0.32), (0.28, 0.65), (0.155, 0.07))
        lights = [0.001, 0.002, 0.003, 0.005, 0.008, 0.5]
        image = seen(self._float_tiff(lights, t34675=wide)).convert("RGB")
        shown = [12.92 * each if each <= 0.0031308 else 1.055 * each ** (1 / 2.4) - 0.055 for each in lights]
        assert all(abs(pixel(image, x, 0)[1] - 255 * value) <= 2 for x, value in enumerate(shown))

    def test_colours_in_linear_light_are_those_of_its_profile(self, seen: Seen) -> None:
        """Wide primaries are converted, as they are with 8 bits."""
        wide = (0.68, 0.32), (0.28, 0.65), (0.155, 0.07)
        usual = Image.new("RGB", (16, 16), (100, 180, 80))
        gamma = TiffKind("f32", more=((34_675, samples.rgb_profile(2.2, *wide)),))
        expected = pixel(seen(samples.sampled_tiff(usual, gamma)), 8, 8)
        light = [(value / 255) ** 2.2 for value in (100, 180, 80)]
        block = struct.pack("<3d", *light) * 256
        entries = {256: [16], 257: [16], 258: [64] * 3, 259: [1], 262: [2], 277: [3], 278: [16], 339: [3] * 3}
        shown = pixel(
            seen(raw_tiff(entries | {34_675: samples.rgb_profile(1.0, *wide)}, Layout([block]))), 8, 8
        )
        assert distance(shown, expected) <= 2


@pytest.mark.parametrize(
    ("largest", "expected"), [(255, 128), (65_535, 128), (2**24 - 1, 128), (2**32 - 1, 128)]
)
def test_integers_of_32_bits_are_scaled_by_the_depth_that_they_use(
    seen: Seen, largest: int, expected: int
) -> None:
    """Beyond 2**31 they are not negative."""
    block = struct.pack("<4I", 0, largest // 2 + 1, largest, largest - 1)
    data = raw_tiff({256: [4], 257: [1], 258: [32], 259: [1], 262: [1], 277: [1], 278: [1]}, Layout([block]))
    assert [pixel(seen(data), x, 0)[0] for x in range(3)] == [0, expected, 255]


class TestWhichPicture:
    """A file may begin with a thumbnail, or with a mask."""

    @pytest.mark.parametrize("flag", [{254: [1]}, {255: [2]}, {254: [4]}], ids=["new", "old", "mask"])
    @pytest.mark.parametrize("below", [False, True])
    @pytest.mark.parametrize("depth", ["u8", "u16", "f32"])
    def test_it_is_the_one_that_is_no_thumbnail(
        self, seen: Seen, flag: dict[int, list[int]], below: bool, depth: str
    ) -> None:
        """It comes next, or in a directory below the thumbnail; Pillow reads it, or does not."""
        for order, big, tile, deflate in (
            ("<", False, 0, False),
            (">", False, 32, True),
            ("<", True, 0, True),
        ):
            kind = TiffKind(depth, order, big, tile, deflate=deflate, more=((274, 6),))
            stored = samples.stored_as(6, samples.picture(64, 48))
            image = seen(samples.thumbnail_tiff(stored, kind, flag, below=below))
            assert image.size == (64, 48)
            assert _difference(image, samples.picture(64, 48)) <= 1

    def test_the_first_counts_where_all_are_thumbnails(self, seen: Seen) -> None:
        """And where no other picture is found."""
        kind = TiffKind("u8", more=((254, 1),))
        image = seen(samples.thumbnail_tiff(samples.picture(64, 48), kind, {254: [1]}))
        assert image.size == (16, 12)

    def test_directories_in_a_circle_end(self, seen: Seen) -> None:
        """The next directory is the first again."""
        data = bytearray(samples.sampled_tiff(samples.picture(64, 48), TiffKind("u8", more=((254, 1),))))
        data[-4:] = data[4:8]
        assert seen(bytes(data)).size == (64, 48)

    @pytest.mark.parametrize("photometric", [32_803, 34_892])
    def test_the_data_of_a_sensor_is_no_picture(self, making: Making, photometric: int) -> None:
        """Even where the file does not look like the raw file of a camera."""
        kind = TiffKind(photometric=photometric)
        data = samples.thumbnail_tiff(samples.picture(64, 48, "L"), kind, {254: [1]}, below=True)
        with pytest.raises(JobError, match="raw picture of a camera"):
            making(data)


class TestDamage:
    """Whatever is wrong with a file, its job ends with a reason."""

    @pytest.mark.parametrize(
        ("mode", "kind"),
        [
            ("RGB", TiffKind(planes=True)),
            ("L", TiffKind("f32", ">", tile=32)),
            ("RGBA", TiffKind("u32", big=True, deflate=True)),
            ("RGB", TiffKind("u10")),
        ],
        ids=["planes", "floats", "big", "packed"],
    )
    def test_bounds_and_damage_are_noticed(self, making: Making, mode: str, kind: TiffKind) -> None:
        """Too many pixels, and directories any byte of which was changed."""
        data = samples.sampled_tiff(samples.picture(64, 48, mode), kind)
        with pytest.raises(JobError, match="too-many-pixels"):
            making(data, max_pixels=64 * 48 - 1)
        for at in range(len(data) - 250, len(data), 5):
            try:
                making(data[:at] + b"\xff" + data[at + 1 :], max_pixels=10**5)
            except JobError as error:
                assert error.reason in ("undecodable", "too-many-pixels", "too-much-memory")  # noqa: PT017

    def test_strips_beyond_the_end_are_missing(self, making: Making) -> None:
        """Such a file is refused, and accepted where truncated files are."""
        data = bytearray(samples.sampled_tiff(samples.picture(64, 48), TiffKind(planes=True)))
        table = data.index(struct.pack("<2I", 16, 16 + 64 * 16 * 2))  # the offsets of the first two strips
        data[table : table + 4] = (len(data) - 8).to_bytes(4, "little")
        with pytest.raises(JobError, match="ends before its picture"):
            making(bytes(data))
        making(bytes(data), truncated=True)

    def test_floats_need_memory_that_is_known_before(self, making: Making) -> None:
        """Three of them a pixel, and what they become."""
        data = samples.sampled_tiff(samples.picture(64, 48), TiffKind("f32"))
        with pytest.raises(JobError, match="too-much-memory"):
            making(data, memory_bytes=64 * 48 * 22 - 1)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_palette_in_a_big_endian_big_tiff_is_read(seen: Seen, orientation: int) -> None:
    """Pillow refuses the file, and its pixels are no plain samples: libtiff shows them."""
    stored = samples.stored_as(orientation, samples.picture(64, 48)).quantize(64)
    palette = stored.getpalette("RGB") or []
    colours = [value * 257 for band in range(3) for value in [*palette[band::3], *[0] * 256][:256]]
    entries = {256: [stored.width], 257: [stored.height], 258: [8], 259: [1], 262: [3], 277: [1]}
    entries |= {274: [orientation], 278: [stored.height], 320: colours}
    image = seen(raw_tiff(entries, Layout([stored.tobytes()], order=">", big=True)))
    assert image.size == (64, 48)
    assert shows_the_picture(image)
