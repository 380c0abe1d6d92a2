"""Job documents, and the bytes that come out: caching, ranges, waiting, removal."""

import re
import time
from datetime import datetime, timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests import samples
from tests.service import SMALL, Service, fresh_address, until
from tests.system.http.expect import limits, problem

JPEG = {"content-type": "image/jpeg"}
PHOTO = samples.jpeg(1000, 2000, orientation=6)
NOWHERE = "/v1/images/" + "0" * 32


@pytest.fixture(scope="module")
def done(service: Service) -> Any:
    """The document of an upload that is done."""
    answer = service.upload(PHOTO, prefer="wait=20")
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def large(done: Any) -> str:
    """The address of a variant's bytes."""
    return str(done["variants"]["large"]["url"])


class TestDocument:
    """The job document."""

    def test_of_an_upload(self, service: Service) -> None:
        """202, Location, both RateLimit fields, and a whole document with the one delete token."""
        with service.paused():
            answer = service.upload()
            document = answer.json()
            waiting = service.stats()["backlog"]["waiting"]
        assert answer.status_code == 202
        assert answer.headers["location"] == document["links"]["self"] == f"/v1/images/{document['id']}"
        assert answer.headers["cache-control"] == "no-store"
        policy, limit = limits(answer.headers)
        assert policy == {"ip": {"q": 10, "w": 5}}
        assert limit["ip"] == {"r": 9, "t": 1}
        assert re.fullmatch("[0-9a-f]{32}", document["id"])
        assert document["status"] == "queued"
        assert document["position"] == waiting == 1
        assert document["estimated_wait_ms"] > 0
        assert document["variants"] == {}
        assert (
            document["source"] is document["url"] is document["expires_at"] is document["reference"] is None
        )
        assert document["deferred"] == []
        assert document["delete_token"]
        assert "problem" not in document
        datetime.fromisoformat(document["created_at"])

    def test_when_done(self, client: httpx.Client, done: Any) -> None:
        """Source and variants, upright and never enlarged; and no token any more."""
        document = client.get(done["links"]["self"]).json()
        assert document == {name: value for name, value in done.items() if name != "delete_token"}
        assert document["status"] == "done"
        assert document["source"] == {
            "format": "jpeg",
            "width": 1000,
            "height": 2000,
            "bytes": len(PHOTO),
            "sha256": sha256(PHOTO).hexdigest(),
            "name": None,
        }
        sizes = {name: (made["width"], made["height"]) for name, made in document["variants"].items()}
        assert sizes == {"large": (800, 1600), "medium": (400, 800), "small": (160, 320), "thumb": (48, 96)}
        created, finished = (
            datetime.fromisoformat(document[f"{what}_at"]) for what in ("created", "finished")
        )
        assert created <= finished
        assert datetime.fromisoformat(document["expires_at"]) == finished + timedelta(days=1)
        assert document["url"] == document["variants"]["large"]["url"]
        for name, made in document["variants"].items():
            assert made["url"] == f"/v1/images/{document['id']}/{name}"
            body = client.get(made["url"]).content
            assert (len(body), sha256(body).hexdigest()) == (made["bytes"], made["sha256"])
            with Image.open(BytesIO(body)) as image:
                assert image.size == (made["width"], made["height"])
                assert image.format == made["format"].upper()
            assert samples.SECRET not in body

    def test_of_some_variants(self, service: Service) -> None:
        """?variants= makes those and no others."""
        with service.client() as client:
            answer = client.post(
                "/v1/images?variants=thumb,small", content=SMALL, headers=JPEG | {"prefer": "wait=20"}
            )
            assert answer.status_code == 201
            document = answer.json()
            assert set(document["variants"]) == {"thumb", "small"}
            problem(client.get(f"{document['links']['self']}/large"), 404, "not-found")

    def test_of_a_named_and_referenced_file(self, service: Service) -> None:
        """The document gives back the file's name without its folders, and ?reference=, in every answer."""
        with service.client() as client:
            files = {"file": ("C:\\photos\\Grün.jpg", SMALL)}
            document = client.post(
                "/v1/images?reference=order%207%C3%A4", files=files, headers={"prefer": "wait=20"}
            ).json()
            assert (document["reference"], document["source"]["name"]) == ("order 7ä", "Grün.jpg")
            assert client.get(document["links"]["self"]).json()["reference"] == "order 7ä"
            refused = problem(client.post("/v1/images?reference=", files=files), 400, "bad-request")
            assert "1 to 128 printable characters" in refused["detail"]

    def test_of_other_formats(self, brief: Service) -> None:
        """VARIANTS names formats and shapes: each is typed and named for what it is."""
        brief.settled()
        document = brief.upload(samples.png(100, 50), prefer="wait=20").json()
        kinds = {"thumb": "jpeg", "web": "webp", "clear_1": "png", "avatar": "jpeg"}
        sizes = {name: (made["width"], made["height"]) for name, made in document["variants"].items()}
        assert sizes == {"thumb": (96, 48), "web": (100, 50), "clear_1": (32, 16), "avatar": (40, 40)}
        assert {name: made["format"] for name, made in document["variants"].items()} == kinds
        for name, kind in kinds.items():
            answer = brief.get(document["variants"][name]["url"])
            assert answer.headers["content-type"] == f"image/{kind}"
            ending = {"jpeg": "jpg"}.get(kind, kind)
            assert answer.headers["content-disposition"] == f'inline; filename="{name}.{ending}"'

    def test_of_a_picture_with_transparency(self, brief: Service) -> None:
        """BACKGROUND reaches the worker: it shows through where a format has no transparency."""
        brief.settled()
        file = BytesIO()
        Image.new("RGBA", (20, 20)).save(file, "PNG")
        document = brief.upload(file.getvalue(), prefer="wait=20").json()
        shown = {}
        for name in ("thumb", "clear_1"):
            with Image.open(BytesIO(brief.get(document["variants"][name]["url"]).body)) as image:
                shown[name] = image.convert("RGBA").getpixel((8, 8))
        assert shown["thumb"][3] == 255
        assert max(abs(a - b) for a, b in zip(shown["thumb"], (0, 128, 128, 255), strict=True)) <= 2
        assert shown["clear_1"][3] == 0

    def test_of_an_upload_whose_client_left(self, service: Service) -> None:
        """Once all of it has come, an upload is done whether or not anybody stays for the answer."""
        before = service.settled()
        for _ in range(5):
            with service.connect() as connection:
                connection.head(
                    "POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}"
                )
                connection.send(SMALL)
                until(lambda: service.stats()["backlog"]["receiving"] == 0, "the upload to be through")
        after = service.settled()
        assert (
            after["jobs"]["done"]
            == after["jobs"]["accepted"] - before["jobs"]["accepted"] + before["jobs"]["done"]
        )

    def test_of_an_unknown_id(self, client: httpx.Client) -> None:
        """An id that is malformed or unknown: 404 everywhere."""
        for job in (NOWHERE, "/v1/images/x", "/v1/images/" + "0" * 31, "/v1/images/" + "A" * 32):
            for path in ("", "/events", "/thumb"):
                problem(client.get(job + path), 404, "not-found")
            problem(client.delete(job, headers={"authorization": "Bearer x"}), 404, "not-found")


class TestWaiting:
    """Prefer: wait."""

    def test_for_an_upload(self, service: Service) -> None:
        """201 with the finished document."""
        answer = service.upload(prefer="wait=20")
        assert answer.status_code == 201
        assert answer.json()["status"] == "done"
        assert answer.headers["preference-applied"] == "wait=20"
        assert answer.headers["location"] == answer.json()["links"]["self"]
        assert limits(answer.headers)[1]["ip"]["r"] == 9

    def test_in_vain(self, service: Service) -> None:
        """202 when the time is over, and the same for a document."""
        with service.paused(), service.client() as client:
            answer = client.post("/v1/images", content=SMALL, headers=JPEG | {"prefer": "wait=1"})
            assert answer.status_code == 202
            assert answer.json()["status"] == "queued"
            location = answer.headers["location"]
            waited = client.get(location, headers={"prefer": "wait=1"})
            assert (waited.status_code, waited.json()["status"]) == (200, "queued")
            at_once = client.get(location, headers={"prefer": "wait=0"})
            assert at_once.json()["status"] == "queued"

    def test_is_bounded(self, tight: Service) -> None:
        """MAX_HOLD is the longest wait, and the answer says which one was kept."""
        with tight.paused():
            answer = tight.upload(prefer="wait=60")
            assert answer.status_code == 202
            assert answer.headers["preference-applied"] == "wait=1"
            waited = tight.get(answer.headers["location"], "Prefer: wait=999999999")
            assert waited.json()["status"] == "queued"
            assert waited.headers["preference-applied"] == "wait=1"
        tight.settled()

    def test_for_a_document(self, service: Service) -> None:
        """A long poll ends when the job does."""
        with service.paused():
            location = service.upload().headers["location"]
            connection = service.connect()
            connection.head(f"GET {location}", "Prefer: wait=20")
            assert connection.is_silent()
        with connection:
            assert connection.answer().json()["status"] == "done"

    def test_of_a_client_that_leaves(self, service: Service) -> None:
        """A client that hangs up while it waits loses nothing, and no longer counts as a stream."""
        address = fresh_address()
        with service.paused():
            location = service.upload().headers["location"]
            for _ in range(20):
                with service.connect(address) as connection:
                    connection.head(f"GET {location}", "Prefer: wait=20")
            with service.client(address) as client:

                def admitted() -> bool:
                    return client.get(location, headers={"prefer": "wait=0"}).status_code == 200

                until(admitted, "the waits to be uncounted")
        service.settled()
        assert service.status_of(location.rpartition("/")[2]) == "done"

    def test_odd_preferences(self, service: Service) -> None:
        """A value that is no number of seconds is ignored."""
        for prefer in ("wait", "wait=", "wait=soon", "wait=-1", "respond-async", 'wait="1"', ",;=,"):
            answer = service.upload(prefer=prefer)
            assert answer.status_code in (201, 202)


class TestBytes:
    """A variant's bytes."""

    def test_headers(self, client: httpx.Client, large: str) -> None:
        """Typed, immutable, named, for good; and the document's length."""
        answer = client.get(large)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"] == 'inline; filename="large.jpg"'
        assert re.fullmatch('"[0-9a-f]{64}"', answer.headers["etag"])
        assert answer.headers["accept-ranges"] == "bytes"
        age = re.fullmatch(r"public, max-age=([0-9]+), immutable", answer.headers["cache-control"])
        assert age is not None
        assert 86_400 - 600 < int(age[1]) <= 86_400

    def test_max_age_is_what_is_left(self, client: httpx.Client, done: Any, large: str) -> None:
        """The life of a cached copy ends with the image's own."""
        finished = datetime.fromisoformat(done["finished_at"]).timestamp()
        control = client.get(large).headers["cache-control"]
        left = int(control.split("max-age=")[1].split(",")[0])
        assert time.time() + left <= finished + 86_400 + 1

    def test_not_modified(self, client: httpx.Client, large: str) -> None:
        """If-None-Match with the tag, weak or among others or *: 304 with the tag and no body."""
        etag = client.get(large).headers["etag"]
        for value in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = client.get(large, headers={"if-none-match": value})
            assert answer.status_code == 304
            assert answer.content == b""
            assert answer.headers["etag"] == etag
            assert "max-age" in answer.headers["cache-control"]
        assert client.get(large, headers={"if-none-match": '"other"'}).status_code == 200
        lines = [("if-none-match", '"other"'), ("if-none-match", etag)]
        assert client.get(large, headers=lines).status_code == 304

    def test_another_version_is_wanted(self, client: httpx.Client, large: str) -> None:
        """If-Match, which is looked at first: 412 for another tag or a weak one, else the bytes."""
        etag = client.get(large).headers["etag"]
        for value in ('"other"', f"W/{etag}", ""):
            problem(client.get(large, headers={"if-match": value}), 412, "precondition-failed")
        answer = client.get(large, headers={"if-match": '"other"', "if-none-match": etag})
        problem(answer, 412, "precondition-failed")
        for value in (etag, f'"other", {etag}', "*"):
            assert client.get(large, headers={"if-match": value}).status_code == 200
        assert client.get(large, headers={"if-match": etag, "if-none-match": etag}).status_code == 304

    @pytest.mark.parametrize(
        ("value", "first", "last"),
        [
            ("bytes=0-99", 0, 99),
            ("bytes=100-", 100, None),
            ("bytes=-50", -50, None),
            ("bytes=5-999999999", 5, None),
        ],
    )
    def test_range(self, client: httpx.Client, large: str, value: str, first: int, last: int | None) -> None:
        """One range: 206 with just those bytes."""
        whole = client.get(large).content
        answer = client.get(large, headers={"range": value})
        assert answer.status_code == 206
        assert answer.content == whole[first : None if last is None else last + 1]
        start = first % len(whole)
        end = start + len(answer.content) - 1
        assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(whole)}"

    @pytest.mark.parametrize("value", ["lines=0-5", "bytes=", "bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "x"])
    def test_ignored_range(self, client: httpx.Client, large: str, value: str) -> None:
        """Unknown units and what is no single range: the whole image."""
        answer = client.get(large, headers={"range": value})
        assert answer.status_code == 200
        assert len(answer.content) == int(answer.headers["content-length"])

    @pytest.mark.parametrize("value", ["bytes=99999999-", "bytes=-0"])
    def test_range_past_the_end(self, client: httpx.Client, large: str, value: str) -> None:
        """416 as a problem, with the size."""
        size = len(client.get(large).content)
        answer = client.get(large, headers={"range": value})
        problem(answer, 416, "range-not-satisfiable")
        assert answer.headers["content-range"] == f"bytes */{size}"

    def test_if_range(self, client: httpx.Client, large: str) -> None:
        """A range of a copy that is still right, else the whole."""
        etag = client.get(large).headers["etag"]
        for value, status in ((etag, 206), ('"other"', 200), (f"W/{etag}", 200)):
            answer = client.get(large, headers={"range": "bytes=0-9", "if-range": value})
            assert answer.status_code == status

    def test_head(self, client: httpx.Client, large: str) -> None:
        """HEAD says what GET says, without the bytes; for 304 and 412 too. A range means nothing to it."""
        for headers in ({}, {"if-none-match": "*"}, {"if-match": '"other"'}):
            get, head = client.get(large, headers=headers), client.head(large, headers=headers)
            assert head.status_code == get.status_code
            assert head.content == b""
            for name in ("etag", "content-length", "content-type", "content-range", "cache-control"):
                assert head.headers.get(name) == get.headers.get(name), name

        for value in ("bytes=0-9", "bytes=99999999-"):
            head = client.head(large, headers={"range": value})
            assert head.status_code == 200
            assert head.headers["content-length"] == client.get(large).headers["content-length"]

    def test_not_ready(self, service: Service) -> None:
        """A variant that will be made: 404 with Retry-After, not to be kept; another name is not found."""
        with service.paused() as (running,), service.client() as client:
            queued = service.upload()
            for location in (running.headers["location"], queued.headers["location"]):
                answer = client.get(f"{location}/thumb")
                problem(answer, 404, "not-ready")
                assert int(answer.headers["retry-after"]) >= 1
                problem(client.get(f"{location}/nonsense"), 404, "not-found")
        service.settled()
        with service.client() as client:
            assert client.get(f"{queued.headers['location']}/thumb").status_code == 200

    def test_large_file_and_a_reader_that_leaves(self, service: Service, large: str) -> None:
        """A reader that hangs up in the middle leaves no trace in the log (see `Service.wait`)."""
        for _ in range(5):
            with service.connect() as connection:
                connection.head(f"GET {large}")
                connection.socket.recv(10)


class TestRemoval:
    """DELETE."""

    def test_needs_the_token(self, service: Service) -> None:
        """No token 401, a wrong one 403, nothing removed; the right one 204, and then 404 everywhere."""
        document = service.upload(prefer="wait=20").json()
        location = document["links"]["self"]
        with service.client() as client:
            answer = client.delete(location)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            for other in ("Basic eDp5", "Bearer", "x"):
                problem(client.delete(location, headers={"authorization": other}), 401, "unauthorized")
            token = document["delete_token"]
            for wrong in ("x", token[:-1], token + "0", "\u00e4", token.upper()):
                fields = {b"authorization": f"Bearer {wrong}".encode("latin-1")}
                problem(client.delete(location, headers=fields), 403, "forbidden")
            assert client.get(f"{location}/thumb").status_code == 200
            used = service.stats()["store_bytes"]
            gone = client.delete(location, headers={"authorization": f"bearer {token}"})
            assert (gone.status_code, gone.content) == (204, b"")
            for path in ("", "/thumb", "/events"):
                problem(client.get(location + path), 404, "not-found")
            again = client.delete(location, headers={"authorization": f"Bearer {token}"})
            problem(again, 404, "not-found")
        assert service.stats()["store_bytes"] == used - sum(v["bytes"] for v in document["variants"].values())
        assert not [name for name in service.stored() if document["id"] in name]

    def test_of_another_image(self, service: Service) -> None:
        """One image's token is worth nothing for another."""
        first, second = service.upload().json(), service.upload().json()
        with service.client() as client:
            fields = {"authorization": f"Bearer {first['delete_token']}"}
            problem(client.delete(second["links"]["self"], headers=fields), 403, "forbidden")

    def test_cancels_a_queued_job(self, service: Service) -> None:
        """A queued job leaves the queue, its place is free, and streams of it end."""
        with service.paused(), service.client() as client:
            before = service.stats()
            document = service.upload().json()
            waiting = service.stats()["backlog"]["waiting"]
            fields = {"authorization": f"Bearer {document['delete_token']}"}
            assert client.delete(document["links"]["self"], headers=fields).status_code == 204
            problem(client.get(document["links"]["self"]), 404, "not-found")
            after = service.stats()
            assert after["backlog"]["waiting"] == waiting - 1
            assert after["jobs"]["cancelled"] == before["jobs"]["cancelled"] + 1
            assert after["store_bytes"] == before["store_bytes"]
            assert not [name for name in service.stored() if document["id"] in name]

    def test_stops_a_running_job(self, service: Service) -> None:
        """A job that a worker has is stopped, and its worker takes the next."""
        before = service.settled()
        with service.paused() as (running,):
            document = running.json()
            connection = service.connect()
            fields = f"Authorization: Bearer {document['delete_token']}"
            connection.head(f"DELETE {document['links']['self']}", fields)
            assert connection.is_silent()
        with connection:
            assert connection.answer().status == 204
        after = service.settled()
        assert after["jobs"]["cancelled"] == before["jobs"]["cancelled"] + 1
        assert after["store_bytes"] == before["store_bytes"]
        assert not [name for name in service.stored() if document["id"] in name]
        assert service.upload(prefer="wait=20").status_code == 201


class TestExpiry:
    """RETENTION."""

    def test_ends_an_image(self, brief: Service) -> None:
        """After its retention an image is 404 everywhere and its bytes are gone; the space is free."""
        answer = brief.upload(prefer="wait=20")
        assert answer.status_code == 201, answer.text
        location = answer.headers["location"]
        job_id = answer.json()["id"]
        with brief.client() as client:
            until(lambda: client.get(location).status_code == 404, "the image to expire")
            for path in ("", "/thumb", "/events"):
                problem(client.get(location + path), 404, "not-found")
            fields = {"authorization": f"Bearer {answer.json()['delete_token']}"}
            problem(client.delete(location, headers=fields), 404, "not-found")
        until(lambda: not [name for name in brief.stored() if job_id in name], "its files to go")
        until(lambda: brief.stats()["store_bytes"] == 0, "the space to be free")

    def test_spares_what_waits(self, brief: Service) -> None:
        """Life begins when a job has ended, however long it waited."""
        with brief.paused():
            waiting = brief.upload()
            started = time.monotonic()
            until(lambda: time.monotonic() > started + 2.2, "more than a retention to pass")
            assert brief.status_of(waiting.json()["id"]) == "queued"
        assert brief.ended(waiting.json()["id"])["status"] == "done"
