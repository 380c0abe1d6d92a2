"""Degraded responses: uploads that find the queue full and prefer a preview to an error."""

import base64
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests import samples
from tests.service import PATIENCE, SMALL, Answer, Connection, Service, gone, until
from tests.system.http.expect import QUOTA_EXCEEDED, REDUCED_CAPACITY, limits, problem
from tests.system.http.test_bodies import FORM, form, part
from tests.workers.corners import shows_the_picture

PHOTO = samples.jpeg(
    640, 480, orientation=6, gps=True, thumbnail=samples.jpeg(160, 120, orientation=6, gps=True)
)
"""A photo as a phone held upright makes it: its pixels, and those of its thumbnail, are rotated."""


def _full(service: Service, stack: ExitStack) -> Service:
    """The service with its workers stopped, its queue full, and its preview worker ready."""
    stack.enter_context(service.paused())
    assert service.upload().status_code == 202
    assert service.upload().status_code == 503
    assert not service.stats()["previews"]["ready"], "it is not started before a preview is wanted"
    assert lenient(service, PHOTO).status_code == 200
    service.previewer()
    return service


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A full service that refuses by default."""
    with ExitStack() as stack:
        service = Service(tmp_path_factory.mktemp("full"), queue_size=1)
        stack.callback(service.kill)
        yield _full(service, stack)


def head(connection: Connection, length: int, *fields: str) -> None:
    """Send the head of a lenient upload."""
    given = "Content-Type: image/jpeg", f"Content-Length: {length}", "Prefer: handling=lenient"
    connection.head("POST /v1/images", *given, *fields)


def lenient(service: Service, data: bytes, kind: str = "image/jpeg", **headers: str) -> httpx.Response:
    """Upload with the preference."""
    return service.upload(data, **{"content-type": kind, "prefer": "handling=lenient", **headers})


def picture(answer: httpx.Response | Answer, kind: str) -> Image.Image:
    """The preview in a degraded response, whose other fields are checked too."""
    code = answer.status if isinstance(answer, Answer) else answer.status_code
    assert code == 200, answer.json()
    headers = answer.headers
    assert headers["preference-applied"] == "handling=lenient"
    assert headers["cache-control"] == "no-store"
    assert "location" not in headers
    policy, limit = limits(headers)
    assert policy.keys() == {"ip", "queue"}
    assert limit["queue"]["r"] == 0
    document: Any = answer.json()
    assert document.keys() == {"status", "detail", "retry_after_ms", "preview"}
    assert document["status"] == "degraded"
    assert 0 < document["retry_after_ms"] <= int(headers["retry-after"]) * 1000
    preview = document["preview"]
    assert preview.keys() == {"url", "width", "height", "kind"}
    assert preview["kind"] == kind
    media_type = {"exif": "image/jpeg", "placeholder": "image/png"}[kind]
    prefix, _, data = preview["url"].partition(",")
    assert prefix == f"data:{media_type};base64"
    file = base64.b64decode(data, validate=True)
    assert samples.SECRET not in file
    assert b"Exif" not in file
    image = Image.open(BytesIO(file))
    image.load()
    assert image.size == (preview["width"], preview["height"])
    return image


class TestPreview:
    """The photo's own thumbnail."""

    @pytest.mark.parametrize(
        ("data", "kind"),
        [(PHOTO, "image/jpeg"), (form(part(b"holiday", "title", None), part(PHOTO)), FORM)],
        ids=["raw", "form"],
    )
    def test_is_upright_and_bare(self, full: Service, data: bytes, kind: str) -> None:
        """Turned as the photo's EXIF says, encoded anew, with nothing of the metadata."""
        image = picture(lenient(full, data, kind), "exif")
        assert image.size == (160, 120)
        assert shows_the_picture(image, 30)

    def test_needs_the_head_of_the_photo_alone(self, full: Service) -> None:
        """A client that expects 100 Continue gets it; the answer comes before the pixels are sent."""
        with full.connect() as connection:
            head(connection, 8 * 2**20, "Expect: 100-continue")
            assert connection.interim() == 100
            connection.send(PHOTO[: len(PHOTO) // 2])
            picture(connection.answer(), "exif")
            connection.socket.shutdown(1)
            assert connection.ends()

    def test_is_seen_by_a_client_that_writes_everything_first(self, full: Service) -> None:
        """Ten megabytes are written before the answer is read, and no reset destroys it."""
        with full.connect() as connection:
            head(connection, 10 * 2**20)
            connection.send(PHOTO + bytes(10 * 2**20 - len(PHOTO)))
            picture(connection.answer(), "exif")

    def test_leaves_nothing_behind(self, full: Service) -> None:
        """Nothing is queued or stored; it counts as degraded and not as refused."""
        before, files = full.stats(), full.stored()
        lenient(full, PHOTO)
        after = full.stats()
        assert after["jobs"] == {**before["jobs"], "degraded": before["jobs"]["degraded"] + 1}
        assert after["refusals"] == before["refusals"]
        assert after["backlog"]["waiting"] == before["backlog"]["waiting"]
        assert full.stored() == files
        line = f'spillway_jobs_total{{outcome="degraded"}} {after["jobs"]["degraded"]:.1f}'
        assert line in full.get("/metrics").body.decode()


def _exif(entries: bytes, rest: bytes = b"") -> bytes:
    """A JPEG whose EXIF is a header, these directories, and the `rest`."""
    segment = b"Exif\0\0MM\0*\0\0\0\x08" + entries + rest
    return SMALL[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + SMALL[2:]


_WITHOUT = samples.jpeg(64, 48)
NO_PREVIEW = {
    "a photo without a thumbnail": _WITHOUT,
    "a format that has none": samples.png(),
    "no image": b"garbage" * 1000,
    "no bytes": b"",
    "a photo cut in its metadata": PHOTO[:300],
    "a segment of impossible length": b"\xff\xd8\xff\xe1\0\0Exif\0\0",
    "ten thousand segments": b"\xff\xd8" + b"\xff\xe0\0\2" * 10_000 + PHOTO[2:],
    "a directory that is its own next": _exif(b"\0\0\0\0\0\x08"),
    "a directory that claims all entries": _exif(b"\xff\xff", bytes(range(256)) * 200),
    "a thumbnail that is none": samples.jpeg(thumbnail=b"\xff\xd8\xff" + bytes(5000)),
    "a thumbnail cut off": samples.jpeg(thumbnail=samples.jpeg(160, 120)[:1500]),
    "a thumbnail of many scans": samples.jpeg(thumbnail=samples.jpeg(160, 120, progressive=True)),
    "a thumbnail too large": samples.jpeg(thumbnail=samples.jpeg(1600, 1200, quality=20)),
}


@pytest.mark.parametrize("data", NO_PREVIEW.values(), ids=NO_PREVIEW)
def test_without_a_thumbnail_there_is_a_placeholder(full: Service, data: bytes) -> None:
    """Whatever is sent instead of a photo with a thumbnail; the next photo has its preview again."""
    assert picture(lenient(full, data), "placeholder").size == (160, 120)
    picture(lenient(full, PHOTO), "exif")


def test_a_broken_form_gets_the_placeholder(full: Service) -> None:
    """The body is read for a preview only, so its faults are no error."""
    picture(lenient(full, PHOTO, FORM), "placeholder")
    picture(lenient(full, PHOTO, "multipart/form-data"), "placeholder")


def test_slow_bodies_are_read_for_two_seconds_eight_at_once(full: Service) -> None:
    """A ninth is answered at once, unread; the eight when their time is up, and then others are read."""
    with ExitStack() as stack:
        started = time.monotonic()
        slow = [stack.enter_context(full.connect()) for _ in range(8)]
        for connection in slow:
            head(connection, 2**20)
            connection.send(PHOTO[:100])
        until(lambda: full.stats()["previews"]["reading"] == 8, "eight bodies to be read")
        picture(lenient(full, PHOTO), "placeholder")
        assert full.stats()["previews"]["reading"] == 8, "the machine is too busy for this test"
        for connection in slow:
            picture(connection.answer(), "placeholder")
        assert 2 <= time.monotonic() - started < PATIENCE
    assert full.stats()["previews"]["reading"] == 0
    picture(lenient(full, PHOTO), "exif")


def test_a_dead_preview_worker_is_replaced(full: Service) -> None:
    """Meanwhile there are placeholders."""
    pid = full.previewer()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not full.stats()["previews"]["ready"], "the death to be seen")
    picture(lenient(full, PHOTO), "placeholder")
    assert full.previewer() != pid
    picture(lenient(full, PHOTO), "exif")
    assert full.stats()["previews"]["restarts"] > 0


def test_a_hung_preview_worker_is_replaced(full: Service) -> None:
    """No client waits for it longer than a moment."""
    pid = full.previewer()
    os.kill(pid, signal.SIGSTOP)
    picture(lenient(full, PHOTO), "placeholder")
    gone(pid)
    assert full.previewer() != pid
    picture(lenient(full, PHOTO), "exif")


class TestChoice:
    """Which uploads get a degraded response."""

    @pytest.mark.parametrize("prefer", ["handling=strict", "wait=1", "handling=kind"])
    def test_by_itself_the_service_refuses(self, full: Service, prefer: str) -> None:
        """An upload without `handling=lenient` gets the error."""
        answer = full.upload(PHOTO, prefer=prefer)
        problem(answer, 503, REDUCED_CAPACITY, guard="queue")
        assert "preference-applied" not in answer.headers

    def test_on_full_degrade_makes_it_the_default(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Then a client that wants the error has to say so. The other guards refuse as ever."""
        with ExitStack() as stack:
            service = Service(
                tmp_path_factory.mktemp("soft"), queue_size=1, on_full="degrade", burst=2, rate=0.001
            )
            stack.callback(service.kill)
            service.previewer()
            stack.enter_context(service.paused())
            assert service.upload().status_code == 202
            picture(service.upload(PHOTO), "exif")
            problem(service.upload(PHOTO, prefer="handling=strict"), 503, REDUCED_CAPACITY, guard="queue")
            problem(service.upload(b"", **{"content-type": "text/plain"}), 415, "unsupported-media-type")
            address = "127.9.9.9"
            assert service.upload(SMALL, address=address).status_code == 200
            assert service.upload(SMALL + b"1", address=address).status_code == 200
            problem(service.upload(SMALL + b"2", address=address), 429, QUOTA_EXCEEDED, guard="rate")
