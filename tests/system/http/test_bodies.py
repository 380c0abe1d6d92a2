"""Bodies of uploads: accepted, or refused with the exact problem, nothing stored and the slot given back."""

from collections.abc import Iterator

import httpx
import pytest

from app.uploads.file_sink import ACCEPT
from tests import samples
from tests.service import SMALL, Service, fresh_address, until
from tests.system.http.expect import problem
from workers.formats import SOURCE_NAMES

LIMIT = 2**20
"""The service's MAX_UPLOAD_BYTES."""

FORM = "multipart/form-data; boundary=frontier"


def part(data: bytes, name: str = "file", filename: str | None = "photo.jpg") -> bytes:
    """One part of a form."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return b"--frontier\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + b"--frontier--\r\n"


def photo_of(size: int) -> bytes:
    """A photo of exactly `size` bytes; decoders ignore what follows its end."""
    return SMALL + bytes(size - len(SMALL))


def seen(answer: httpx.Response) -> tuple[object, ...]:
    """What the document of an answer says of the file itself."""
    source = answer.json()["source"]
    return tuple(source[name] for name in ("format", "width", "height", "bytes"))


@pytest.fixture
def nothing_left(service: Service) -> Iterator[None]:
    """After the test the store holds what it held before, and every receiving slot is free."""
    before, files = service.settled(), service.stored()
    yield
    after = until(
        lambda: (s := service.stats())["backlog"]["receiving"] == 0 and s, "the slot to be given back"
    )
    assert after["backlog"]["waiting"] == 0
    assert after["jobs"]["accepted"] == before["jobs"]["accepted"]
    assert after["store_bytes"] == before["store_bytes"]
    until(lambda: service.stored() == files, "nothing stored")


BAD_FORMS = {
    "an empty body": (b"", "malformed-multipart", "The body is empty"),
    "no part at all": (form(), "no-file", "The form has no file. Add the photo"),
    "no file part": (form(part(b"holiday", "title", None)), "no-file", "-F file=@photo.jpg"),
    "text by the name of file": (form(part(b"photo.jpg", filename=None)), "no-file", "write @ before"),
    "a file without bytes": (form(part(b"")), "no-file", "The file is empty (0 bytes)"),
    "a wrong boundary": (
        form(part(SMALL)).replace(b"frontier", b"elsewhere"),
        "malformed-multipart",
        "it has no line --frontier",
    ),
    "cut in the file": (form(part(SMALL))[: len(SMALL) // 2], "malformed-multipart", "cut off"),
    "cut before the end": (part(SMALL), "malformed-multipart", "cut off"),
    "a broken part header": (
        b"--frontier\r\nno colon here\r\n\r\nx\r\n--frontier--\r\n",
        "malformed-multipart",
        "does not begin with header lines",
    ),
    "no form at all": (SMALL, "malformed-multipart", "not the form that its Content-Type announces"),
}


@pytest.mark.usefixtures("nothing_left")
class TestRefused:
    """Bad input gets its exact status and problem."""

    @pytest.mark.parametrize("name", BAD_FORMS)
    def test_malformed_form(self, client: httpx.Client, name: str) -> None:
        """A form that is broken, or holds no file: 400, and what is wrong with it."""
        body, kind, said = BAD_FORMS[name]
        answer = client.post("/v1/images", content=body, headers={"content-type": FORM})
        assert said in problem(answer, 400, kind)["detail"]

    @pytest.mark.parametrize(
        "boundary", ["", "; boundary=", "; boundary=" + "b" * 300, '; boundary="a\u00e4"']
    )
    def test_boundary(self, service: Service, boundary: str) -> None:
        """A form without a usable boundary: 400."""
        with service.connect() as connection:
            connection.head(
                "POST /v1/images",
                f"Content-Type: multipart/form-data{boundary}",
                f"Content-Length: {len(SMALL)}",
            )
            connection.send(SMALL)
            problem(connection.answer(), 400, "malformed-multipart")

    @pytest.mark.parametrize("name", [name for name in samples.pretenders() if name != "empty"])
    def test_pretender(self, client: httpx.Client, name: str) -> None:
        """The bytes decide: what is no image is refused whatever its name and type say."""
        data = samples.pretenders()[name]
        sent = client.post("/v1/images", files={"file": ("photo.jpg", data, "image/jpeg")})
        if name.startswith("cut"):
            assert sent.status_code in (415, 202)
        assert SOURCE_NAMES in problem(sent, 415, "unsupported-media-type")["detail"]
        assert sent.headers["accept"] == ACCEPT
        problem(
            client.post("/v1/images", content=data, headers={"content-type": "image/png"}),
            415,
            "unsupported-media-type",
        )

    def test_empty_raw_body(self, client: httpx.Client) -> None:
        """No bytes: 400, declared or not."""
        empty: list[bytes | Iterator[bytes]] = [b"", iter([])]
        for content in empty:
            answer = client.post("/v1/images", content=content, headers={"content-type": "image/jpeg"})
            problem(answer, 400, "no-file")

    def test_no_body(self, service: Service) -> None:
        """A request that announces no body at all: 400."""
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg")
            problem(connection.answer(), 400, "no-file")

    @pytest.mark.parametrize("as_form", [False, True])
    @pytest.mark.parametrize("chunked", [False, True])
    def test_one_byte_too_many(self, client: httpx.Client, as_form: bool, chunked: bool) -> None:
        """MAX_UPLOAD_BYTES + 1 is 413 with the limit, be its length declared or not."""
        data = photo_of(LIMIT + 1)
        body = form(part(data)) if as_form else data
        headers = {"content-type": FORM if as_form else "image/jpeg"}
        pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
        answer = client.post("/v1/images", content=pieces if chunked else body, headers=headers)
        assert f"{LIMIT} bytes" in problem(answer, 413, "too-large")["detail"]
        assert answer.headers["upload-limit"] == f"max-size={LIMIT}"

    def test_a_form_too_long(self, client: httpx.Client) -> None:
        """A small file in an endless form is 413 as well."""

        def endless() -> Iterator[bytes]:
            for _ in range(3):
                yield part(bytes(32_768), "note", None)
            yield form(part(SMALL))

        problem(
            client.post("/v1/images", content=endless(), headers={"content-type": FORM}), 413, "too-large"
        )

    def test_unknown_variant(self, client: httpx.Client) -> None:
        """A variant that nobody makes: 400 names those that are made."""
        headers = {"content-type": "image/jpeg"}
        for asked in ("nonsense", "thumb,nonsense", "", "thumb,", "%00", "events"):
            answer = client.post(f"/v1/images?variants={asked}", content=SMALL, headers=headers)
            assert "thumb" in problem(answer, 400, "unknown-variant")["detail"]

    @pytest.mark.parametrize("cut", [0, 1, 600, len(SMALL) - 1])
    def test_disconnect(self, service: Service, cut: int) -> None:
        """A client that leaves half way leaves nothing behind."""
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}")
            connection.send(SMALL[:cut])
            until(lambda: service.stats()["backlog"]["receiving"] == 1, "the upload to arrive")

    def test_disconnect_with_much_on_disk(self, service: Service) -> None:
        """What was spooled of a large upload goes too."""
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {LIMIT}")
            connection.send(photo_of(LIMIT - 1))
            until(lambda: any(name.startswith("spool/") for name in service.stored()), "a spooled file")

    def test_half_closed(self, service: Service) -> None:
        """A client that shuts its sending side before its body ends has gone."""
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}")
            connection.send(SMALL[:100])
            connection.socket.shutdown(1)
            connection.ends()

    @pytest.mark.parametrize("size", [1, 32])
    def test_small_chunks(self, service: Service, size: int) -> None:
        """A body of nothing but small chunks is refused soon: each costs work, however little it brings."""
        chunk = b"%x\r\n%b\r\n" % (size, bytes(size))
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", "Transfer-Encoding: chunked")
            connection.send(b"4\r\n\xff\xd8\xff\xe0\r\n" + chunk * (8192 * 128 // (128 - size) + 10))
            detail = problem(connection.answer(), 400, "bad-request")["detail"]
            assert detail == "The body comes in too many small chunks."
            assert connection.ends()

    def test_broken_chunk(self, service: Service) -> None:
        """A malformed chunk breaks the request, not the service."""
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", "Transfer-Encoding: chunked")
            connection.send(b"5\r\n\xff\xd8\xff\xe0\0\r\nzzz\r\n")
            problem(connection.answer(), 400, "bad-request")
            assert connection.ends()


class TestTaken:
    """What is accepted, in every way of sending it."""

    @pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/X-anything; q=1", "application/octet-stream"])
    def test_raw_body(self, client: httpx.Client, kind: str) -> None:
        """The image as the body itself."""
        answer = client.post(
            "/v1/images?variants=thumb", content=SMALL, headers={"content-type": kind, "prefer": "wait=20"}
        )
        assert answer.status_code == 201
        assert seen(answer) == ("jpeg", 64, 48, len(SMALL))

    @pytest.mark.parametrize("fields", [(), ("Content-Type:",)])
    def test_raw_body_of_no_type(self, service: Service, fields: tuple[str, ...]) -> None:
        """Without a Content-Type the bytes decide alone."""
        for data, status in ((SMALL, 202), (b"text" * 300, 415)):
            with service.connect() as connection:
                connection.head("POST /v1/images", f"Content-Length: {len(data)}", *fields)
                connection.send(data)
                assert connection.answer().status == status

    def test_lying_name(self, client: httpx.Client) -> None:
        """A PNG by the name of a JPEG is a PNG."""
        files = {"file": ("photo.jpg", samples.png(), "image/jpeg")}
        answer = client.post("/v1/images", files=files, headers={"prefer": "wait=20"})
        assert answer.json()["source"]["format"] == "png"

    def test_any_field_name(self, client: httpx.Client) -> None:
        """The first file part counts, whatever its field is called and whatever fields come before."""
        files = {"picture": ("a.jpg", SMALL)}
        answer = client.post("/v1/images", files=files, data={"title": "x" * 1000})
        assert answer.status_code == 202
        assert answer.json().get("ignored_files") is None

    def test_two_files(self, client: httpx.Client) -> None:
        """Further file parts are counted and ignored."""
        files = [
            ("file", ("a.jpg", SMALL)),
            ("file", ("b.txt", b"text")),
            ("other", ("c.png", samples.png())),
        ]
        answer = client.post("/v1/images", files=files, headers={"prefer": "wait=20"})
        assert answer.status_code == 201
        assert answer.json()["ignored_files"] == 2
        assert answer.json()["source"]["bytes"] == len(SMALL)

    def test_the_part_named_file(self, client: httpx.Client) -> None:
        """It wins over an image before it that is on disk already; untouched inputs and JSON do no harm."""
        cover = samples.png() + bytes(600_000)
        files = [
            ("untouched", ("", b"", "application/octet-stream")),
            ("meta", ("blob", b'{"a": 1}', "application/json")),
            ("cover", ("cover.png", cover, "image/png")),
            ("file", ("a.jpg", SMALL, "image/jpeg")),
        ]
        for headers in ({}, {"idempotency-key": "the-part-named-file"}):
            answer = client.post("/v1/images", files=files, headers={"prefer": "wait=20", **headers})
            assert answer.status_code == 201
            assert seen(answer) == ("jpeg", 64, 48, len(SMALL))
            assert answer.json()["ignored_files"] == 2

    def test_a_form_with_lf_line_ends(self, client: httpx.Client) -> None:
        """As scripts write it; the photo keeps its own bytes."""
        body = form(part(b"@@")).replace(b"\r\n", b"\n").replace(b"@@", SMALL)
        answer = client.post("/v1/images", content=b"preamble\n" + body, headers={"content-type": FORM})
        assert answer.status_code == 202

    def test_exactly_the_limit(self, client: httpx.Client) -> None:
        """MAX_UPLOAD_BYTES is not too much: raw, in a form, chunked."""
        data = photo_of(LIMIT)
        raw = {"content-type": "image/jpeg"}
        assert client.post("/v1/images", content=data, headers=raw).status_code == 202
        assert client.post("/v1/images", content=iter([data]), headers=raw).status_code == 202
        assert client.post("/v1/images", files={"file": ("a.jpg", data)}).status_code == 202

    def test_chunked_in_small_pieces(self, service: Service) -> None:
        """A chunked form in pieces of a few bytes."""
        body = form(part(SMALL)) + b"epilogue"
        with service.connect() as connection:
            connection.head("POST /v1/images", f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
            for start in range(0, len(body), 7):
                piece = body[start : start + 7]
                connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            connection.send(b"0\r\n\r\n")
            assert connection.answer().status == 202

    def test_expect_continue(self, service: Service) -> None:
        """An upload that expects it gets its 100, then its 202."""
        with service.connect() as connection:
            connection.head(
                "POST /v1/images",
                "Content-Type: image/jpeg",
                f"Content-Length: {len(SMALL)}",
                "Expect: 100-continue",
            )
            assert connection.interim() == 100
            connection.send(SMALL)
            assert connection.answer().status == 202
            connection.head("GET /healthz")
            assert connection.answer().status == 200


class TestBroken:
    """What only decoding can tell fails the job, not the upload."""

    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (samples.truncated(samples.png(300, 200)), "undecodable"),
            (b"\xff\xd8\xff\xe0" + bytes(500), "undecodable"),
            (samples.bomb_png(), "too-many-pixels"),
            (samples.bomb_gif(), "too-many-pixels"),
        ],
        ids=["cut png", "empty jpeg", "png bomb", "gif bomb"],
    )
    def test_fails_its_job(self, service: Service, client: httpx.Client, data: bytes, kind: str) -> None:
        """The upload is accepted; its job fails, and a client that waits gets the failure's own status."""
        headers = {"content-type": "application/octet-stream"}
        answer = client.post("/v1/images", content=data, headers=headers)
        assert answer.status_code == 202
        failed = service.ended(answer.json()["id"])
        assert failed["status"] == "failed"
        assert failed["finished_at"]
        assert failed["variants"] == {}
        assert failed["problem"]["type"] == f"/problems/{kind}"
        assert failed["problem"]["status"] == 422
        waited = client.post("/v1/images", content=data, headers={**headers, "prefer": "wait=20"})
        problem(waited, 422, kind)
        assert waited.headers["location"].startswith("/v1/images/")

    def test_keeps_nothing_but_the_record(self, service: Service, client: httpx.Client) -> None:
        """A failed job leaves its record, and not its source."""
        headers = {"content-type": "image/gif", "prefer": "wait=20"}
        answer = client.post("/v1/images", content=samples.bomb_gif(), headers=headers)
        job_id = answer.headers["location"].rpartition("/")[2]
        service.settled()
        assert {name for name in service.stored() if job_id in name} == {
            f"images/{job_id[:2]}/{job_id}/job.json"
        }


def test_counts_the_refusals_of_bodies(service: Service) -> None:
    """The statistics count a refused body by its status."""
    before = service.stats()["refusals"]
    address = fresh_address()
    for content_type in ("text/plain", "image/png"):
        service.upload(b"text", address=address, **{"content-type": content_type})
    service.upload(b"", address=address)
    after = service.stats()["refusals"]
    assert after["415"] == before["415"] + 2
    assert after["400"] == before["400"] + 1
