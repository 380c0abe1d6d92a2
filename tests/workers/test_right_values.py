"""Files of other people's test suites, and their brothers, show what their standards and browsers say."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import Colour, corners, distance, pixel, shows_the_picture
from workers.failures import JobError

Seen = Callable[..., Image.Image]

_CASES = Path(__file__).parent / "cases"
_PLAIN = [(220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 220, 30)]
"""The corners of the cases: red, green, blue, yellow."""
_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
_DISPLAY_P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def _case(name: str) -> bytes:
    return (_CASES / name).read_bytes()


def _is_plain(image: Image.Image) -> bool:
    return image.size == (160, 96) and all(
        distance(a, b) <= 16 for a, b in zip(corners(image), _PLAIN, strict=True)
    )


class TestPng:
    """Transparent colours, primaries and missing rows."""

    def test_the_transparent_grey_of_two_bits_is_transparent(self, seen: Seen) -> None:
        """The key 1 of 0 to 3 is the grey 85, in the left half of this file."""
        alpha = seen(_case("png-gray-2bit-trns-key1.png")).convert("RGBA").getchannel("A")
        assert sorted(value for value, count in enumerate(alpha.histogram()) if count) == [0, 255]

    @pytest.mark.parametrize("depth", [1, 2, 4, 8])
    def test_a_transparent_grey_is_in_the_depth_of_the_file(self, seen: Seen, depth: int) -> None:
        """Every value of the depth can be the one; bits above the depth are ignored."""
        for key in {1, (1 << depth) - 2, (1 << depth) - 1}:
            other = 0 if key else 1
            row = b"".join(
                bytes((int(f"{value:0{depth}b}" * (8 // depth), 2),)) * depth for value in (key, other)
            )
            packed = zlib.compress((b"\0" + row) * 16)
            stated = struct.pack(">H", key | (0x0100 if depth > 1 else 0))
            alpha = seen(samples.raw_png(16, 16, depth, 0, packed, tRNS=stated)).convert("RGBA")
            assert [pixel(alpha, x, 8)[3] for x in (2, 13)] == [0, 255]

    def test_red_and_green_change_places_where_the_primaries_say_so(self, seen: Seen) -> None:
        """The chromaticities of this file are those of sRGB, with red and green exchanged."""
        data = _case("png-cHRM-red-green-swap.png")
        shown = seen(data, "it=64@png").convert("RGB")
        with Image.open(BytesIO(data)) as stored:
            plain = stored.convert("RGB")
        for x, y in ((32, 30), (10, 20), (50, 40), (32, 55)):
            red, green, blue = pixel(plain, x, y)
            assert distance(pixel(shown, x, y), (green, red, blue)) <= 6

    @pytest.mark.parametrize("gamma", [None, 45_455])
    def test_chromaticities_are_converted(self, seen: Seen, gamma: int | None) -> None:
        """The primaries of Display P3, with or without the gamma; sRGB and a profile go before them."""
        stated = {"cHRM": struct.pack(">8I", *(round(100_000 * value) for value in _DISPLAY_P3))}
        if gamma is not None:
            stated["gAMA"] = struct.pack(">I", gamma)
        rows = samples.packed_rows(16, 16, bytes((100, 200, 80)))
        shown = pixel(seen(samples.raw_png(16, 16, 8, 2, rows, **stated)), 8, 8)
        assert distance(shown, (45, 203, 56)) <= 8
        named = samples.raw_png(16, 16, 8, 2, rows, sRGB=b"\0", **stated)
        assert pixel(seen(named), 8, 8) == (100, 200, 80)

    @pytest.mark.parametrize(
        "stated", [(0,) * 8, (1,) * 8, (2**31 - 1,) * 8, (31_270, 32_900, *(30_000,) * 6)]
    )
    def test_chromaticities_that_make_no_sense_are_ignored(self, seen: Seen, stated: tuple[int, ...]) -> None:
        """The picture is shown as it is stored."""
        rows = samples.packed_rows(16, 16, bytes((100, 200, 80)))
        data = samples.raw_png(16, 16, 8, 2, rows, cHRM=struct.pack(">8I", *stated))
        assert pixel(seen(data), 8, 8) == (100, 200, 80)

    @pytest.mark.parametrize(
        ("depth", "colour", "pixel_bytes"),
        [(8, 0, 1), (16, 0, 2), (8, 2, 3), (16, 2, 6), (8, 4, 2), (8, 6, 4), (16, 6, 8)],
    )
    @pytest.mark.parametrize("value", [0, 1, 253, 255])
    def test_missing_rows_are_noticed(
        self, making: Making, depth: int, colour: int, pixel_bytes: int, value: int
    ) -> None:
        """Compressed data that ends well, but a row too early, is refused; with that row it is shown."""
        row = b"\0" + bytes((value,)) * pixel_bytes * 16
        for rows in (10, 15):
            with pytest.raises(JobError, match="ends before the last rows"):
                making(samples.raw_png(16, 16, depth, colour, zlib.compress(row * rows)))
        making(samples.raw_png(16, 16, depth, colour, zlib.compress(row * 16)))
        making(samples.raw_png(16, 16, depth, colour, zlib.compress(row * 10)), truncated=True)

    @pytest.mark.parametrize("pixel_value", [(253, 1, 253), (0, 0, 0)])
    def test_a_last_row_of_any_colour_is_a_row(self, seen: Seen, pixel_value: Colour) -> None:
        """Also the colour with which missing rows are found."""
        rows = samples.packed_rows(16, 16, bytes(pixel_value))
        assert pixel(seen(samples.raw_png(16, 16, 8, 2, rows)), 8, 15) == pixel_value

    @pytest.mark.parametrize("height", [15, 16])
    def test_missing_rows_of_an_interlaced_picture_are_noticed(self, making: Making, height: int) -> None:
        """The last pass lacks its last row."""
        data = samples.deep_png(16, height, interlaced=True)
        start = data.index(b"IDAT") + 4
        whole = zlib.decompress(data[start:])
        making(data)
        short = samples.raw_png(16, height, 16, 2, zlib.compress(whole[:-97]), interlace=1)
        with pytest.raises(JobError, match="ends before the last rows"):
            making(short)

    def test_a_picture_without_its_last_third_is_refused(self, making: Making) -> None:
        """It is not shown with a third of it black."""
        with pytest.raises(JobError, match="ends before the last rows"):
            making(_case("png-last-third-of-rows-missing.png"))


class TestJpeg:
    """A file that ends without the marker for its end."""

    @pytest.mark.parametrize("progressive", [False, True])
    @pytest.mark.parametrize("end", [b"", b"\0\0"], ids=["nothing", "zeros"])
    @pytest.mark.parametrize("side", [64, 640])
    def test_is_shown_if_every_pixel_is_there(
        self, seen: Seen, progressive: bool, end: bytes, side: int
    ) -> None:
        """Its pixels are those of the whole file."""
        whole = samples.jpeg(640, 480, progressive=progressive)
        image = seen(whole[:-2] + end, f"it={side}@png")
        assert image.tobytes() == seen(whole, f"it={side}@png").tobytes()

    def test_is_shown_in_the_case_of_others(self, seen: Seen) -> None:
        """The same picture at 320 x 192."""
        image = seen(_case("jpeg-complete-but-without-EOI.jpg"), "it=320@png")
        assert image.size == (320, 192)
        assert all(distance(a, b) <= 16 for a, b in zip(corners(image), _PLAIN, strict=True))

    @pytest.mark.parametrize(("share", "there"), [(0.3, range(10, 50)), (0.6, range(35, 80))])
    def test_says_how_much_of_it_is_there_if_it_is_cut_off(
        self, making: Making, share: float, there: range
    ) -> None:
        """By its height."""
        data = samples.jpeg(640, 480, comment=b"")
        with pytest.raises(JobError, match=r"about [0-9]+ % of its height") as failure:
            making(data[: int(len(data) * share)])
        assert int(failure.value.detail.split("about ")[1].split(" ")[0]) in there


def test_a_webp_of_a_few_bytes_is_shown(seen: Seen) -> None:
    """A lossless picture of one colour takes 28 bytes."""
    image = seen(_case("webp-lossless-28-bytes-100x100.webp"), "it=100@png")
    assert image.size == (100, 100)


def test_an_avif_of_too_many_pixels_is_told_so(making: Making) -> None:
    """Its decoder refuses 17 000 x 17 000 pixels without a reason."""
    with pytest.raises(JobError, match="too-many-pixels: The image has 17000 x 17000 = 289,000,000 pixels"):
        making(_case("17000x17000.avif"))


def test_an_animation_shows_its_first_frame_and_not_the_picture_for_others(seen: Seen) -> None:
    """The picture for programs that know no APNG is red; the first frame is green."""
    image = seen(_case("apng-default-image-not-in-animation.png"), "it=64@png")
    assert pixel(image, 20, 20)[1] >= 100
    assert pixel(image, 20, 20)[0] <= 4


class TestOrientation:
    """EXIF turns a picture, and in AVIF and HEIC its own properties do; XMP does not."""

    def test_exif_turns_a_heic_without_properties_that_do(self, seen: Seen) -> None:
        """As phones show it."""
        assert _is_plain(seen(_case("heic-exif-orientation6-without-irot.heic"), "it=160@png"))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_heic_is_turned_once(self, seen: Seen, orientation: int) -> None:
        """The file has both EXIF and the properties."""
        stored = samples.stored_as(orientation, samples.picture(64, 48))
        data = samples.encoded(stored, "heic", orientation)
        assert samples.exif(orientation)[6:] in data or b"Exif" in data
        image = seen(data)
        assert image.size == (64, 48)
        assert shows_the_picture(image, 30)

    @pytest.mark.parametrize(
        "name", ["avif-xmp-orientation-only.avif", "jpeg-xmp-orientation-only.jpg"], ids=["avif", "jpeg"]
    )
    def test_xmp_alone_turns_nothing(self, seen: Seen, name: str) -> None:
        """Browsers ignore the orientation in XMP."""
        assert _is_plain(seen(_case(name), "it=160@png"))

    @pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    @pytest.mark.parametrize("with_exif", [False, True])
    def test_xmp_turns_nothing_in_any_format(self, seen: Seen, format_: str, with_exif: bool) -> None:
        """Whether there is EXIF without an orientation, or none."""
        options: dict[str, object] = {"xmp": _XMP}
        if format_ == "PNG":
            text = PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", _XMP.decode())
            options = {"pnginfo": text}
        if with_exif:
            exif = Image.Exif()
            exif[0x010E] = "a description"
            options["exif"] = exif.tobytes()
        file = BytesIO()
        samples.picture(64, 48).save(file, format_, **options)
        image = seen(file.getvalue())
        assert image.size == (64, 48)
        assert shows_the_picture(image, 30)


class TestColoursOfAvif:
    """Of several descriptions of colours, that of the picture itself counts."""

    def test_those_of_another_picture_are_ignored(self, seen: Seen) -> None:
        """The first description says PQ, and belongs to no picture that is shown."""
        assert _is_plain(seen(_case("avif-sdr-other-items-pq-colr-box-first.avif"), "it=160@png"))

    def test_its_own_are_used(self, seen: Seen) -> None:
        """With the first description as its own, the same file is one in PQ."""
        data = _case("avif-sdr-other-items-pq-colr-box-first.avif")
        own = data.replace(b"\0\1\4\2\3\x84\5", b"\0\1\4\2\3\x84\1")
        assert own != data
        assert not _is_plain(seen(own, "it=160@png"))

    def test_a_damaged_description_is_ignored(self, making: Making) -> None:
        """Whatever its bytes are, the file is made or refused for a reason."""
        data = _case("avif-sdr-other-items-pq-colr-box-first.avif")
        for at in range(32, 286, 5):
            try:
                making(data[:at] + b"\xff" + data[at + 1 :])
            except JobError as error:
                assert error.reason in ("undecodable", "too-many-pixels", "too-much-memory")  # noqa: PT017
