"""Finding a photo's thumbnail, and checking a preview, with untrusted bytes."""

from io import BytesIO

import pytest
from PIL import Image

from tests import samples
from tests.workers.corners import shows_the_picture
from workers.preview import make_preview
from workers.thumbnail import MAX_SIDE, find_exif_segment, read_plain_jpeg_size

PHOTO = samples.jpeg(64, 48, thumbnail=samples.jpeg(160, 120))


class TestSegment:
    """The EXIF segment in the first bytes of a file."""

    def test_is_found_as_soon_as_it_is_whole(self) -> None:
        """With fewer bytes the answer is that more are needed."""
        found = [find_exif_segment(PHOTO[:length]) for length in range(len(PHOTO))]
        first = next(index for index, segment in enumerate(found) if segment is not None)
        assert found[first] == samples.exif(thumbnail=samples.jpeg(160, 120))
        assert set(found[first:]) == {found[first]}
        assert PHOTO[:first].endswith(samples.jpeg(160, 120))

    @pytest.mark.parametrize(
        "head",
        [
            samples.png(),
            b"\x00",
            b"\xff\xd9",
            b"\xff\xd8 and no segment",
            b"\xff\xd8\xff\xe0\0\1",
            b"\xff\xd8\xff\xda\0\2",
            b"\xff\xd8" + b"\xff\xe0\0\2" * 40 + PHOTO[2:],
        ],
        ids=["PNG", "a byte", "no start", "no marker", "length 1", "pixels first", "too many segments"],
    )
    def test_is_known_not_to_come(self, head: bytes) -> None:
        """The answer is final then, and the rest of the body need not be read."""
        assert find_exif_segment(head) == b""


class TestPreview:
    """The preview that is made of a segment."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_upright(self, orientation: int) -> None:
        """All eight orientations are applied."""
        made = make_preview(
            samples.exif(orientation, thumbnail=samples.jpeg(160, 120, orientation=orientation))
        )
        assert read_plain_jpeg_size(made) == (160, 120)
        assert shows_the_picture(Image.open(BytesIO(made)), 30)

    def test_is_small(self) -> None:
        """A camera's large thumbnail is reduced."""
        assert read_plain_jpeg_size(make_preview(samples.exif(thumbnail=samples.jpeg(640, 480)))) == (
            MAX_SIDE,
            240,
        )

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_of_other_colours_is_made_too(self, mode: str) -> None:
        """The preview is grey or RGB."""
        made = make_preview(samples.exif(thumbnail=samples.jpeg(160, 120, mode=mode)))
        assert Image.open(BytesIO(made)).mode in ("L", "RGB")

    def test_has_no_metadata(self) -> None:
        """The encoder's output has no place for metadata."""
        made = make_preview(samples.exif(thumbnail=samples.jpeg(160, 120, gps=True)))
        assert samples.SECRET not in made
        assert read_plain_jpeg_size(made) == (160, 120)


class TestBareSize:
    """The check of a preview that a worker returns."""

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"-",
            PHOTO,
            samples.jpeg(progressive=True),
            samples.png(),
            make_preview(samples.exif(thumbnail=samples.jpeg(160, 120)))[:-1],
            b"\xff\xd8\xff\xda\0\2\xff\xd9",
            b"\xff\xd8\xff\xc0\xff\xff\xff\xd9",
        ],
        ids=["nothing", "none", "metadata", "progressive", "PNG", "cut", "no size", "beyond the end"],
    )
    def test_refuses_what_is_no_bare_baseline_jpeg(self, data: bytes) -> None:
        """A process that an image has taken over may return anything."""
        assert read_plain_jpeg_size(data) in (None, (0, 0))
