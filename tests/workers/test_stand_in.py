"""The thumbnail embedded in a file, in place of its picture: when it is used, and what is made of it."""

import struct
from io import BytesIO

import pillow_heif
import pytest
from PIL import Image

from tests import samples
from tests.samples.raw_avif import with_thumbnail
from tests.workers.conftest import Making
from tests.workers.corners import shows_the_picture
from workers.boxes import show_thumbnail
from workers.messages import Done

THUMB = samples.jpeg(160, 120)


def photo(thumbnail: bytes | None = THUMB, width: int = 640, height: int = 480, **told: int) -> bytes:
    """A plain white photo, so that nothing but its thumbnail shows the picture of the samples."""
    file = BytesIO()
    block = samples.exif(told.get("orientation", 1), thumbnail=thumbnail)
    Image.new("RGB", (width, height), "white").save(file, "JPEG", exif=block)
    return file.getvalue()


def stood_in(done: Done) -> bool:
    """Whether the one variant was made of the thumbnail."""
    (made,) = done.made
    return made.provisional


def heic(thumbnails: list[int], **options: object) -> bytes:
    """An HEIC photo with thumbnails of these longest sides, as items of its own."""
    file, picture = BytesIO(), pillow_heif.from_pillow(samples.picture(640, 480))
    picture[0].info["thumbnails"] = thumbnails
    picture.save(file, quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_made_into_what_the_picture_would_have_become(making: Making, orientation: int) -> None:
    """Upright, in the exact size of the true variant, encoded anew without any metadata."""
    thumb = samples.jpeg(160, 120, orientation=orientation, gps=True)
    width, height = (480, 640) if orientation > 4 else (640, 480)
    data = photo(thumb, width, height, orientation=orientation)
    done, files = making(data, "it=97", stand_in=True)
    assert stood_in(done)
    assert shows_the_picture(Image.open(files["it"]), 40)
    assert samples.SECRET not in files["it"].read_bytes()
    assert (done.source.width, done.source.height) == (640, 480)
    true, _ = making(data, "it=97")
    assert (true.source, true.made[0].provisional) == (done.source, False)
    assert (true.made[0].width, true.made[0].height) == (done.made[0].width, done.made[0].height) == (97, 73)


@pytest.mark.parametrize(
    ("variant", "is_enough"),
    [("it=160", True), ("it=161", False), ("it=120x120/cover", True), ("it=121x121/cover-smart", False)],
)
def test_it_is_never_enlarged(making: Making, variant: str, is_enough: bool) -> None:
    """A variant that needs more pixels, in its box or its cut, is made of the picture."""
    done, _ = making(photo(), variant, stand_in=True)
    assert stood_in(done) is is_enough


def told(size: tuple[int, int]) -> bytes:
    """A photo whose EXIF says this size of it."""
    file = BytesIO()
    Image.new("RGB", (640, 480)).save(file, "JPEG", exif=samples.exif(thumbnail=THUMB, size=size))
    return file.getvalue()


def turned() -> bytes:
    """A photo whose thumbnail has an orientation of its own, in place of its compression."""
    return photo().replace(*(struct.pack(">HHIHH", tag, 3, 1, 6, 0) for tag in (259, 274)))


@pytest.mark.parametrize(
    ("data", "fits"),
    [
        (photo(), True),
        (photo(width=644), True),
        (photo(None), False),
        (photo(width=480), False),
        (photo(width=480, height=640, orientation=6), False),
        (photo(b"no picture"), False),
        (photo(THUMB[: len(THUMB) // 2]), False),
        (photo(samples.jpeg(160, 120, progressive=True)), False),
        (photo(samples.jpeg(800, 600, quality=20)), False),
        (photo(samples.jpeg(160, 120, mode="CMYK")), False),
        (told((640, 480)), True),
        (told((1280, 960)), False),
        (turned(), False),
        (samples.png(640, 480), False),
    ],
    ids=[
        *("same shape", "nearly", "none", "cut", "upright beside a photo that is not", "broken", "cut off"),
        *("progressive", "huge", "inks", "told size", "scaled since", "turned", "PNG"),
    ],
)
def test_it_must_agree_with_the_header(making: Making, data: bytes, fits: bool) -> None:
    """Whatever says that it is not of this picture, or is wrong with it, leaves the picture itself."""
    done, _ = making(data, "it=96", stand_in=True, truncated=True)
    assert stood_in(done) is fits


def barred(bar: int, colour: str, width: int = 160, height: int = 120) -> bytes:
    """A thumbnail with bars above and below."""
    image = Image.new("RGB", (width, height), colour)
    image.paste(samples.picture(width, height - 2 * bar), (0, bar))
    file = BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def test_black_bars_of_cameras_are_cut_off(making: Making) -> None:
    """Where they end exactly where a photo of this shape begins; else the thumbnail is not used."""
    done, files = making(photo(barred(7, "black"), 720, 480), "it=96", stand_in=True)
    assert stood_in(done)
    assert shows_the_picture(Image.open(files["it"]), 40)
    for thumbnail in (barred(7, "white"), barred(20, "black"), barred(3, "black")):
        assert not stood_in(making(photo(thumbnail, 720, 480), "it=96", stand_in=True)[0])
    upright = BytesIO()
    Image.open(BytesIO(barred(7, "black"))).transpose(Image.Transpose.TRANSPOSE).save(upright, "JPEG")
    assert stood_in(making(photo(upright.getvalue(), 480, 720), "it=96", stand_in=True)[0])


@pytest.mark.parametrize(
    "data",
    [
        heic([320]),
        heic([320], tile_size=256),
        with_thumbnail(samples.avif(640, 480), samples.avif(320, 240)),
    ],
    ids=["HEIC", "HEIC in tiles, as of iPhones", "AVIF"],
)
def test_a_thumbnail_is_an_item_of_its_own(making: Making, data: bytes) -> None:
    """Its size is that of the true variant, as if the picture had been decoded."""
    done, files = making(data, "it=320", stand_in=True)
    assert stood_in(done)
    assert (done.source.width, done.source.height) == (640, 480)
    assert shows_the_picture(Image.open(files["it"]), 40)


def test_an_item_that_is_absent_or_too_small_leaves_the_picture(making: Making) -> None:
    """The picture is decoded then."""
    assert not stood_in(making(heic([]), "it=96", stand_in=True)[0])
    assert not stood_in(making(heic([320]), "it=321", stand_in=True)[0])


def test_a_thumbnail_that_is_turned_otherwise_is_not_shown() -> None:
    """Its property has to be that of the picture; damaged boxes have no thumbnail."""
    data = heic([320])
    assert show_thumbnail(data) not in (None, data)
    for length in range(0, data.index(b"thmb"), 7):
        assert show_thumbnail(data[:length]) is None
    rotated = data.replace(b"ispe", b"irot", 1)
    assert show_thumbnail(rotated) is None


def test_the_picture_is_not_decoded(making: Making) -> None:
    """Of a file whose pixels are cut off after the thumbnail there is a variant, which is provisional."""
    data = photo()
    done, _ = making(data[: data.index(b"\xff\xda", len(THUMB) + 200) + 20], "it=96", stand_in=True)
    assert stood_in(done)
