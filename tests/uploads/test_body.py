"""Reading the bodies of uploads: what is found in them, what is wrong with them, and how slow they may be."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.backpressure.drain_rate import DrainRate
from app.backpressure.upload_queue import UploadQueue
from app.uploads.body import BodyReader, UploadTooSlow
from app.uploads.file_sink import NoFile, Received, TooLarge, UnsupportedType
from app.uploads.multipart import MULTIPART_ALLOWANCE, MalformedForm
from tests import samples
from tests.examples import examples

pytestmark = pytest.mark.anyio

BOUNDARY = b"XyZ"
FORM = "multipart/form-data; boundary=XyZ"
PHOTO = samples.jpeg()
MAX = 100_000
RATE = 1000


class Gathered:
    """A spool in memory."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> None:
        self.data += data

    async def restart(self) -> None:
        self.data = b""


_AFTER = 1e-6
"""Seconds between the last piece and the end, since timers of the same moment fire in any order."""


class Uplink:
    """A client's connection: each piece arrives a number of seconds after the one before, 0 by default."""

    def __init__(self, pieces: Sequence[bytes | tuple[float, bytes]], *, then: str = "end") -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self.read = 0
        loop = asyncio.get_running_loop()
        upload = 0.0
        for piece in pieces:
            delay, data = piece if isinstance(piece, tuple) else (0.0, piece)
            upload += delay
            message: Message = {"type": "http.request", "body": data, "more_body": True}
            if upload:
                loop.call_later(upload, self._messages.put_nowait, message)
            else:
                self._messages.put_nowait(message)
        if then == "end":
            end: Message = {"type": "http.request", "body": b"", "more_body": False}
            loop.call_later(upload + _AFTER, self._messages.put_nowait, end)
        elif then == "gone":
            loop.call_later(upload + _AFTER, self._messages.put_nowait, {"type": "http.disconnect"})

    async def receive(self) -> Message:
        message = await self._messages.get()
        self.read += len(message.get("body", b""))
        return message


def part(data: bytes, disposition: str = 'form-data; name="file"; filename="a.jpg"', *more: str) -> bytes:
    """One part of a form: headers, an empty line, bytes."""
    lines = [f"Content-Disposition: {disposition}", *more, "", ""]
    return "\r\n".join(lines).encode("latin-1") + data


def form(*parts: bytes, boundary: bytes = BOUNDARY, closed: bool = True) -> bytes:
    """A whole multipart body."""
    opened = b"".join(b"--" + boundary + b"\r\n" + each + b"\r\n" for each in parts)
    return opened + (b"--" + boundary + b"--\r\n" if closed else b"")


class ReceivingSlots(UploadQueue[object]):
    """What a reader asks of an engine: whether all receiving slots are taken. It is never draining."""

    def __init__(self, *, full: bool = False) -> None:
        super().__init__(1, 1, 1, DrainRate(1, 1))
        if full:
            self.reserve("somebody")

    def check_receiving(self) -> None:
        """Uploads may go on."""


class RecordedSlot:
    """A receiving slot that records the progress of its upload."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def progress(self, share: float) -> None:
        self.shares.append(share)

    def release(self) -> None:
        """There is nothing to give back."""


async def receive(
    pieces: Sequence[bytes | tuple[float, bytes]] | Uplink,
    content_type: str = FORM,
    *,
    max_bytes: int = MAX,
    timeout: float = 120,
    min_rate: int = RATE,
    busy: bool = False,
    slot: RecordedSlot | None = None,
    length: int | None = None,
) -> tuple[Received, bytes]:
    """Read a body to its end: what was received, and the bytes in the spool."""
    uplink = pieces if isinstance(pieces, Uplink) else Uplink(pieces)
    headers = [(b"content-type", content_type.encode("latin-1"))]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    scope["state"] = {"connection": SimpleNamespace(fast_reading=False)}
    request = Request(scope, uplink.receive)
    spool = Gathered()
    body_reader = BodyReader(ReceivingSlots(full=busy), max_bytes, timeout, min_rate)
    received = await body_reader.receive(request, spool, slot or RecordedSlot())
    return received, spool.data


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The bytes in pieces, cut at these places."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(marks)]


# --- the bytes ------------------------------------------------------------------------------------------

_TRICKY = [b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n-", b"\r\n--", b"\r\n--X", b"\r\n--Xy", b"--XyZ", b"\0"]
tricky = st.lists(st.sampled_from(_TRICKY) | st.binary(max_size=20), max_size=30).map(b"".join)
places = st.lists(st.integers(0, 2**16), max_size=40)


@examples
@given(tail=tricky.filter(lambda data: b"\r\n--XyZ" not in data), places=places)
async def test_a_form_s_file_is_the_same_however_it_is_cut(tail: bytes, places: list[int]) -> None:
    """Wherever the network cuts the body, even within a boundary, the spool gets the file's exact bytes."""
    data = b"\xff\xd8\xff\xe0" + tail
    body = form(part(b"holiday", 'form-data; name="title"'), part(data))
    received, spooled = await receive(cut(body, places))
    assert spooled == data
    assert received == Received(len(data), "jpeg", 0, "a.jpg")


@examples
@given(tail=tricky, places=places)
async def test_a_raw_body_is_the_same_however_it_is_cut(tail: bytes, places: list[int]) -> None:
    """Without a form the body is the file, whatever it holds."""
    data = b"\xff\xd8\xff\xe0" + tail
    received, spooled = await receive(cut(data, places), "image/jpeg")
    assert spooled == data
    assert received == Received(len(data), "jpeg", 0)


async def test_byte_by_byte_is_the_same_too() -> None:
    """The slowest cut of all, form and raw."""
    body = form(part(b"x", 'form-data; name="title"'), part(PHOTO[:700]))
    assert (await receive([bytes([byte]) for byte in body]))[1] == PHOTO[:700]
    assert (await receive([bytes([byte]) for byte in PHOTO[:700]], "image/jpeg"))[1] == PHOTO[:700]


@pytest.mark.parametrize(
    "declared", ["image/jpeg", "image/png", "IMAGE/x-nonsense", "application/octet-stream"]
)
async def test_the_bytes_decide_not_the_declared_type(declared: str) -> None:
    """A PNG sent as a JPEG is a PNG."""
    received, _ = await receive([samples.png()], declared)
    assert received.format == "png"


@pytest.mark.parametrize(
    "content_type", ["Multipart/Form-Data; boundary=XyZ", 'multipart/form-data; boundary="XyZ"']
)
async def test_the_form_s_type_is_read_as_the_standard_says(content_type: str) -> None:
    """Type names are in any case, and a boundary may be quoted."""
    assert (await receive([form(part(PHOTO))], content_type))[1] == PHOTO


async def test_a_boundary_may_hold_every_sign_that_is_allowed() -> None:
    """Quoted, with spaces, slashes, colons and an equals sign."""
    boundary = b"a'()+_,-./:=? z"
    content_type = f'multipart/form-data; charset=utf-8; boundary="{boundary.decode()}"'
    assert (await receive([form(part(PHOTO), boundary=boundary)], content_type))[1] == PHOTO


# --- the parts of a form --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="file"; filename="a.jpg"',
        "form-data; name=file; filename=a.jpg",
        'form-data; name="anything"; filename="../../etc/passwd"',
        'form-data; filename="a;b\\".jpg"; name="file"',
        "form-data; name=\"file\"; filename*=UTF-8''%e2%82%ac.jpg",
        'form-data; name="file"; filename="\xe4.jpg"',
        'FORM-DATA; NAME="file"; FILENAME="a.jpg"',
    ],
)
async def test_a_part_with_a_file_name_is_the_file(disposition: str) -> None:
    """By any spelling of the name, and whatever the name is."""
    received, spooled = await receive([form(part(PHOTO, disposition))])
    assert spooled == PHOTO
    assert received.ignored_files == 0


async def test_headers_of_a_part_are_in_any_case_and_order() -> None:
    """Content-Disposition may be written small and stand last."""
    body = b"content-type: image/jpeg\r\nX-Odd:\r\ncontent-disposition: form-data; filename=a\r\n\r\n" + PHOTO
    assert (await receive([form(body)]))[1] == PHOTO


async def test_text_fields_around_the_file_are_ignored() -> None:
    """Before it and after it, even when their text is an image's."""
    text = part(samples.png(), 'form-data; name="title"')
    received, spooled = await receive([form(text, part(PHOTO), text)])
    assert (spooled, received.format, received.ignored_files) == (PHOTO, "jpeg", 0)


async def test_of_several_files_the_first_counts() -> None:
    """The others are counted and ignored, whatever they contain."""
    received, spooled = await receive([form(part(PHOTO), part(samples.png()), part(b"text"))])
    assert (spooled, received.format, received.ignored_files) == (PHOTO, "jpeg", 2)


PNG = samples.png()
UNTOUCHED = part(b"", 'form-data; name="file"; filename=""')
OTHER = 'form-data; name="other"; filename="b"'
CHOICES = {
    "an untouched file input before it": (UNTOUCHED, part(PHOTO, OTHER), 0),
    "an untouched input named file after it": (part(PHOTO, OTHER), UNTOUCHED, 0),
    "an empty file before it": (part(b"", OTHER), part(PHOTO, OTHER), 0),
    "JSON before it": (part(b'{"a":1}', OTHER, "Content-Type: application/json"), part(PHOTO, OTHER), 1),
    "a long text before it": (part(b"text" * 5000, OTHER), part(PHOTO, OTHER), 1),
    "a text after it": (part(PHOTO, OTHER), part(b"text" * 5000, OTHER), 1),
    "another image before the part named file": (part(PNG, OTHER), part(PHOTO), 1),
    "another image after the part named file": (part(PHOTO), part(PNG, OTHER), 1),
    "another part named file after it": (part(PHOTO), part(PNG), 1),
    "no file name, but the type of an image": (
        part(b"text", "form-data; name=title"),
        part(PHOTO, "form-data; name=picture", "Content-Type: Image/JPEG"),
        0,
    ),
    "a field named file before it": (part(b"holiday", "form-data; name=file"), part(PHOTO, OTHER), 0),
}


@pytest.mark.parametrize("length", [7, 700, 100_000])
@pytest.mark.parametrize("name", CHOICES)
async def test_the_photo_is_found_among_the_parts(name: str, length: int) -> None:
    """The part named file, else the first image; parts without bytes do not count."""
    first, second, ignored = CHOICES[name]
    body = form(first, second)
    received, spooled = await receive([body[at : at + length] for at in range(0, len(body), length)])
    assert (spooled, replace(received, name=None)) == (PHOTO, Received(len(PHOTO), "jpeg", ignored))


async def test_a_part_named_file_that_is_no_image_is_refused() -> None:
    """At once, even if an image came before it, since the client says that this one is the file."""
    body = form(part(PHOTO, OTHER), part(b"text" * 200))
    uplink = Uplink([body[:-1]], then="nothing")
    with pytest.raises(UnsupportedType):
        await receive(uplink)


async def test_a_form_of_files_that_are_no_images_is_refused() -> None:
    """When it ends; or earlier, when they are longer than what a form may add."""
    with pytest.raises(UnsupportedType):
        await receive([form(part(b"text", OTHER), part(b"more text" * 100, OTHER))])
    with pytest.raises(UnsupportedType):
        await receive(Uplink([form(part(bytes(MULTIPART_ALLOWANCE), OTHER), closed=False)], then="nothing"))


@pytest.mark.parametrize("epilogue", [b"", b"\r\n", b"good bye", b"\r\n--XyZ\r\nmore", bytes(1000)])
@pytest.mark.parametrize("together", [True, False])
async def test_what_follows_the_closing_boundary_is_ignored(epilogue: bytes, together: bool) -> None:
    """An epilogue is no part of the form, whether it comes with its end or later."""
    body = form(part(PHOTO))
    pieces = [body + epilogue] if together else [body, epilogue]
    assert (await receive(pieces))[1] == PHOTO


# --- what is wrong with a form --------------------------------------------------------------------------


BROKEN = {
    "empty": b"",
    "unclosed": form(part(PHOTO), closed=False),
    "cut": form(part(PHOTO))[:-40],
    "cut in the headers": form(part(PHOTO))[:30],
    "wrong boundary": form(part(PHOTO), boundary=b"other"),
    "one dash": form(part(PHOTO)).replace(b"--XyZ", b"-XyZ"),
    "no form": PHOTO,
    "no colon": b"--XyZ\r\nno colon here\r\n\r\n",
    "no name": b"--XyZ\r\n: no name\r\n\r\nx\r\n--XyZ--\r\n",
    "long header": form(part(PHOTO, 'form-data; filename="' + "a" * 20_000 + '"')),
    "many headers": form(part(PHOTO, "form-data; filename=a", *[f"X-{n}: y" for n in range(500)])),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_a_form_that_is_not_well_formed_is_refused(body: bytes) -> None:
    """Broken or cut at any place, in one piece or many."""
    with pytest.raises(MalformedForm):
        await receive([body])
    with pytest.raises(MalformedForm):
        await receive([body[at : at + 7] for at in range(0, len(body), 7)])


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "b" * 300,
    ],
)
async def test_a_form_without_a_usable_boundary_is_refused(content_type: str) -> None:
    """Before any of its body is looked at."""
    uplink = Uplink([form(part(PHOTO))])
    with pytest.raises(MalformedForm):
        await receive(uplink, content_type)
    assert uplink.read == 0


@pytest.mark.parametrize(
    "body",
    [
        b"--XyZ--\r\n",
        form(part(b"text", 'form-data; name="file"')),
        form(part(PHOTO, 'form-data; name="file"')),
    ],
    ids=["no-part", "text", "no-filename"],
)
async def test_a_form_without_a_file_is_refused(body: bytes) -> None:
    """An image in a field without a file name is text, as in HTML forms."""
    with pytest.raises(NoFile, match=r"The form has no file|is text, not"):
        await receive([body])


async def test_a_file_without_bytes_is_refused() -> None:
    """What a browser sends when nothing was chosen, a file that is empty, and a raw body of nothing."""
    with pytest.raises(NoFile, match="empty"):
        await receive([form(part(b"", 'form-data; name="file"; filename=""'))])
    with pytest.raises(NoFile, match="empty"):
        await receive([form(part(b""), part(b""))])
    with pytest.raises(NoFile, match="empty"):
        await receive([], "image/jpeg")


# --- what is no image -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 13, 100, 511, 512, 513, 5000])
async def test_what_is_no_image_is_refused_at_every_size(size: int) -> None:
    """A text, however short, by form and raw."""
    text = (b"Not an image. " * 400)[:size]
    with pytest.raises(UnsupportedType):
        await receive([text], "image/jpeg")
    with pytest.raises(UnsupportedType):
        await receive([form(part(text))])


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"GIF89a" + bytes(7), "gif"),
        (b"II*\0\x08\0\0\0", "tiff"),
    ],
)
async def test_the_smallest_heads_are_known(data: bytes, format_: str) -> None:
    """A file shorter than what is sniffed is judged when it ends; one byte less is no image."""
    assert (await receive([bytes([byte]) for byte in data], "image/jpeg"))[0].format == format_
    with pytest.raises(UnsupportedType):
        await receive([data[:-1]], "image/jpeg")


async def test_a_text_is_refused_before_it_is_read_in_full() -> None:
    """The first bytes decide; the rest is not waited for."""
    uplink = Uplink([b"text" * 128] * 50, then="nothing")
    with pytest.raises(UnsupportedType):
        await receive(uplink, "image/jpeg")
    assert uplink.read == 512


# --- how much -------------------------------------------------------------------------------------------


async def test_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_not() -> None:
    """The bound is on the file, by form and raw, and a refusal carries it."""
    largest = PHOTO + bytes(MAX - len(PHOTO))
    assert (await receive([largest], "image/jpeg"))[0].size == MAX
    assert (await receive([form(part(largest))]))[0].size == MAX
    for pieces, content_type in (([largest, b"x"], "image/jpeg"), ([form(part(largest + b"x"))], FORM)):
        with pytest.raises(TooLarge) as refusal:
            await receive(pieces, content_type)
        assert list(refusal.value.headers) == [("Upload-Limit", f"max-size={MAX}")]


@pytest.mark.parametrize("length", [999, 100_000])
async def test_a_form_may_add_its_allowance_and_no_more(length: int) -> None:
    """Text fields, and what is before, between and behind the parts, however small the file is."""
    title = 'form-data; name="title"'
    most = MULTIPART_ALLOWANCE - (len(form(part(PHOTO), part(b"", title))) - len(PHOTO))
    for more in (0, 1):
        filler = bytes(most + more)
        for body in (
            form(part(PHOTO), part(filler, title)),
            form(part(filler, title), part(PHOTO)),
            form(part(PHOTO), part(filler[:1000], title)) + filler[1000:],
        ):
            pieces = [body[at : at + length] for at in range(0, len(body), length)]
            if more:
                with pytest.raises(TooLarge, match="Beside the file the form has more than 64 KiB"):
                    await receive(pieces)
            else:
                assert (await receive(pieces))[1] == PHOTO


async def test_ignored_files_count_with_the_file() -> None:
    """All of them together may have as many bytes as one file."""
    most = MAX - len(PHOTO)
    assert (await receive([form(part(PHOTO), part(bytes(most), OTHER))]))[1] == PHOTO
    with pytest.raises(TooLarge, match="together"):
        await receive([form(part(PHOTO), part(bytes(most + 1), OTHER))])


async def test_an_endless_body_is_refused_at_the_bound() -> None:
    """No more pieces are read than show that it is too large."""
    uplink = Uplink([PHOTO, *[bytes(10_000)] * 50], then="nothing")
    with pytest.raises(TooLarge):
        await receive(uplink, "image/jpeg")
    assert MAX < uplink.read <= MAX + 10_000


# --- how fast -------------------------------------------------------------------------------------------


async def took(awaitable: object) -> tuple[float, BaseException | None]:
    """How many seconds something took, and how it failed."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        await awaitable  # type: ignore[misc]
    except UploadTooSlow as error:
        return loop.time() - began, error
    return loop.time() - began, None


def steadily(rate: float, seconds: int) -> list[tuple[float, bytes]]:
    """A JPEG that arrives at so many bytes a second."""
    return [
        (1.0, (b"\xff\xd8\xff\xe0" if n == 0 else b"") + bytes(int(rate) - 4 * (n == 0)))
        for n in range(seconds)
    ]


async def test_an_upload_at_the_minimum_rate_is_accepted() -> None:
    """Exactly fast enough is fast enough, for as long as it takes."""
    seconds, error = await took(receive(steadily(RATE, 90), "image/jpeg"))
    assert (seconds, error) == (pytest.approx(90), None)


async def test_a_silent_upload_ends_with_the_grace() -> None:
    """A client that sends nothing keeps its receiving slot for five seconds."""
    seconds, error = await took(receive(Uplink([], then="nothing"), "image/jpeg"))
    assert seconds == pytest.approx(5)
    assert "at less than 1000 bytes a second" in str(error)


async def test_an_upload_below_the_minimum_rate_ends_when_it_has_fallen_behind() -> None:
    """At two fifths of the rate, seven seconds bring 2.8 seconds' worth: with the grace, until 7.8."""
    seconds, error = await took(receive(steadily(RATE * 0.4, 90), "image/jpeg"))
    assert seconds == pytest.approx(7.8)
    assert "at less than 1000 bytes a second" in str(error)


async def test_a_byte_a_second_does_not_hold_a_slot() -> None:
    """A slow-post attack is ended as if the client were silent."""
    drip = [(1.0, bytes([byte])) for byte in PHOTO[:120]]
    seconds, error = await took(receive(drip, "image/jpeg"))
    assert seconds == pytest.approx(5, abs=0.1)
    assert error is not None


async def test_a_fast_start_does_not_buy_a_long_stall() -> None:
    """However much arrived at once, at most ten seconds of silence are allowed."""
    pieces = [(1.0, PHOTO + bytes(90_000)), (60.0, b"x")]
    seconds, error = await took(receive(pieces, "image/jpeg"))
    assert seconds == pytest.approx(11)
    assert error is not None


async def test_every_upload_ends_at_its_deadline() -> None:
    """Fast enough all the time, but for too long."""
    seconds, error = await took(receive(steadily(RATE, 90), "image/jpeg", timeout=30))
    assert seconds == pytest.approx(30)
    assert "longer than the 30 s" in str(error)


async def test_while_all_slots_are_taken_uploads_must_be_faster() -> None:
    """Eight times the minimum rate is needed while other uploads find no receiving slot."""
    seconds, error = await took(receive(steadily(RATE * 3.2, 20), "image/jpeg"))
    assert error is None
    seconds, error = await took(receive(steadily(RATE * 3.2, 20), "image/jpeg", busy=True))
    assert seconds == pytest.approx(7.8)
    assert error is not None
    seconds, error = await took(receive(steadily(RATE * 8, 10), "image/jpeg", busy=True))
    assert (seconds, error) == (pytest.approx(10), None)


async def test_without_a_minimum_rate_only_the_deadline_counts() -> None:
    """`MIN_UPLOAD_RATE=0` asks for nothing but an end."""
    seconds, error = await took(receive([(100.0, PHOTO)], "image/jpeg", min_rate=0))
    assert (seconds, error) == (pytest.approx(100), None)
    silent = Uplink([], then="nothing")
    seconds, error = await took(receive(silent, "image/jpeg", min_rate=0))
    assert seconds == pytest.approx(120)


async def test_a_client_that_leaves_differs_from_one_that_has_finished() -> None:
    """Half an upload is not accepted, however well-formed the half is."""
    for pieces, content_type in (([PHOTO], "image/jpeg"), ([form(part(PHOTO))], FORM), ([], FORM)):
        with pytest.raises(ClientDisconnect):
            await receive(Uplink(pieces, then="gone"), content_type)


async def test_a_slot_hears_of_the_progress() -> None:
    """The share of the declared length that has arrived, at each piece and twice a second in between."""
    slot = RecordedSlot()
    half = len(PHOTO) // 2
    pieces = [PHOTO[:half], (0.9, PHOTO[half:])]
    await receive(pieces, "image/jpeg", slot=slot, length=len(PHOTO))
    assert slot.shares == pytest.approx([0, half / len(PHOTO), half / len(PHOTO), 1], abs=0.01)


async def test_a_slot_hears_of_no_progress_when_the_length_is_unknown() -> None:
    """Without a length nobody can tell how much is missing."""
    slot = RecordedSlot()
    await receive([PHOTO[:700]], "image/jpeg", slot=slot)
    assert set(slot.shares) == {0.0}
