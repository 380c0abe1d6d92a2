"""The BlurHash of an image."""

import pytest
from blurhash import decode
from PIL import Image

from workers.blurhash import blurhash
from workers.messages import LENGTH_BYTES, Done, Made, ProtocolError, Source
from workers.parser import parse


def halves(left: tuple[int, ...], right: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    """A picture whose left and right halves have one colour each."""
    image = Image.new(mode, (640, 480), right)
    image.paste(left, (0, 0, 320, 480))
    return image


def test_a_blurhash_draws_the_picture_s_colours_where_they_were() -> None:
    """Decoded, the left is red and the right is blue."""
    drawn = decode(blurhash(halves((220, 20, 20), (20, 20, 220))), 32, 24)
    left, right = drawn[12][4], drawn[12][27]
    assert left[0] > left[2] + 80
    assert right[2] > right[0] + 80


def test_transparency_counts_as_white() -> None:
    """The hash of a transparent picture is that of the picture on white."""
    drawn = decode(blurhash(halves((0, 0, 0, 0), (0, 0, 0, 0), "RGBA")), 8, 8)
    assert min(min(pixel) for row in drawn for pixel in row) > 230  # a few waves are not quite flat


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (33, 31)])
def test_every_shape_and_mode_has_a_hash_that_may_cross_the_pipe(mode: str, size: tuple[int, int]) -> None:
    """Even of the thinnest pictures there is a hash, and the parser accepts it."""
    found = blurhash(Image.new(mode, size))
    done = Done("job", Source("png", 1, 1), (Made("a", "a.jpg", "jpeg", 1, 1),), blurhash=found)
    assert parse(done.to_frame()[LENGTH_BYTES:]) == done


@pytest.mark.parametrize("text", ["short", "<script>", 'a"b"c"d"', "x" * 167, "LEHV6\n"])
def test_a_hash_in_other_characters_is_refused(text: str) -> None:
    """A hash becomes part of documents, so it must be base 83 or empty."""
    done = Done("job", Source("png", 1, 1), (Made("a", "a.jpg", "jpeg", 1, 1),), blurhash=text)
    with pytest.raises(ProtocolError):
        parse(done.to_frame()[LENGTH_BYTES:])
