"""A PNG is decoded whatever is wrong with chunks that its picture does not need."""

import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from tests import samples
from tests.workers.conftest import Making
from tests.workers.corners import pixel, shows_the_picture
from workers.png_chunks import keep_essential_chunks, read_chunks

Seen = Callable[..., Image.Image]

_END_OF_HEADER = 33
_CHUNKS = {
    "text of a wrong checksum": b"\0\0\0\4tEXta\0bc1234",
    "cut chromaticities": struct.pack(">I4s2s", 2, b"cHRM", b"ab"),
    "an empty gamma": struct.pack(">I4s", 0, b"gAMA"),
    "cut dimensions": struct.pack(">I4s", 0, b"pHYs"),
    "a text that unpacks to a flood": struct.pack(">I4s", 0, b"zTXt"),
    "a profile of a wrong checksum": b"\0\0\0\4iCCPa\0\0x1234",
}


def _chunk(name: str) -> bytes:
    if name.startswith("a text"):
        body = b"a\0\0" + zlib.compress(bytes(9 * 2**20))
        return struct.pack(">I4s", len(body), b"zTXt") + body + zlib.crc32(b"zTXt" + body).to_bytes(4, "big")
    whole = _CHUNKS[name]
    return whole if whole.endswith(b"1234") else whole + zlib.crc32(whole[4:]).to_bytes(4, "big")


@pytest.mark.parametrize("name", sorted(_CHUNKS))
@pytest.mark.parametrize("late", [False, True], ids=["before the pixels", "after them"])
def test_a_damaged_chunk_costs_itself_alone(seen: Seen, name: str, late: bool) -> None:
    """A damaged chunk is ignored and the picture is shown, as in browsers."""
    good = samples.png(64, 48)
    at = len(good) - 12 if late else _END_OF_HEADER
    assert shows_the_picture(seen(good[:at] + _chunk(name) + good[at:], "it=64@png"), 24)


def test_frames_in_disorder_cost_the_animation_alone(seen: Seen) -> None:
    """The still picture of a broken animation is shown."""
    data = samples.apng(64, 48)
    frame = next(whole for kind, whole in read_chunks(data) if kind == b"fdAT")
    assert seen(data.replace(frame, frame[:8] + b"\xff" * 4 + frame[12:]), "it=64@webp").size == (64, 48)


def test_what_a_picture_needs_is_kept(seen: Seen) -> None:
    """Its transparent colour, orientation and profile are used."""
    rows = samples.packed_rows(16, 16, b"\x10\x20\x30")
    data = samples.raw_png(16, 16, 8, 2, rows, tRNS=b"\0\x10\0\x20\0\x30", tEXt=b"a\0b")
    kinds = [kind for kind, _ in read_chunks(keep_essential_chunks(data))]
    assert kinds == [b"IHDR", b"tRNS", b"IDAT", b"IEND"]
    assert pixel(seen(keep_essential_chunks(data)).convert("RGBA").getchannel("A"), 8, 8) == (0,)


def test_a_picture_of_a_wrong_checksum_is_still_refused(making: Making) -> None:
    """A wrong checksum of the pixels means that they are damaged."""
    data = bytearray(samples.png(64, 48))
    data[data.index(b"IDAT") + 30] ^= 1
    with pytest.raises(Exception, match="undecodable"):
        making(bytes(data))
