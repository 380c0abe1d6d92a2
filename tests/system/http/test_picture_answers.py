"""The picture itself as the answer to an upload, for clients that prefer one by their Accept field."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests import samples
from tests.service import PATIENCE, SMALL, Service, fresh_address, serving
from tests.system.http.expect import REDUCED_CAPACITY, problem

PHOTO = samples.jpeg(400, 300, gps=True)
IMAGES = "image/*"


def send(
    service: Service, accept: str, query: str = "?variants=thumb", data: bytes = PHOTO, **headers: str
) -> httpx.Response:
    """An upload with an Accept field."""
    with service.client(headers.pop("address", None)) as client:
        fields = {"content-type": "image/jpeg", "accept": accept, **headers}
        return client.post(f"/v1/images{query}", content=data, headers=fields)


def test_is_the_variant_that_was_asked_for(service: Service) -> None:
    """Its bytes, with its address, the job's, and the delete token, which deletes it."""
    answer = send(service, IMAGES)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-disposition"] == 'inline; filename="thumb.jpg"'
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-store", "Accept")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "ratelimit" in answer.headers
    assert "preference-applied" not in answer.headers
    with Image.open(BytesIO(answer.content)) as image:
        assert image.size == (96, 72)
    assert samples.SECRET not in answer.content
    with service.client() as client:
        variant = client.get(answer.headers["content-location"])
        assert (variant.content, variant.headers["etag"]) == (answer.content, answer.headers["etag"])
        document = client.get(answer.headers["location"]).json()
        assert document["variants"]["thumb"]["url"] == answer.headers["content-location"]
        bearer = {"authorization": f"Bearer {answer.headers['delete-token']}"}
        assert client.delete(answer.headers["location"], headers=bearer).status_code == 204


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "application/json, image/*",
        "image/webp, */*;q=0.5",
    ],
)
def test_is_for_those_alone_who_prefer_it(service: Service, accept: str) -> None:
    """Clients that take anything, browsers that load a page, and who prefers another format get JSON."""
    answer = send(service, accept, data=SMALL)
    assert answer.status_code == 202
    assert answer.headers["vary"] == "Accept"
    assert answer.json()["delete_token"]
    assert send(service, "image/*, */*;q=0.1", "", SMALL).json()["id"], "of all variants"


def test_is_that_of_a_repeat_too(service: Service) -> None:
    """The same bytes for the same file, while its job runs and when it is done."""
    client = {"idempotency-key": '"picture"', "address": fresh_address()}
    with ThreadPoolExecutor(1) as thread:
        with service.paused():
            first = thread.submit(send, service, "*/*", **client)
            assert first.result().status_code == 202
            again = thread.submit(send, service, IMAGES, **client)
        assert again.result().status_code == 200
    third = send(service, "image/jpeg", **client)
    assert (third.status_code, third.content) == (200, again.result().content)
    assert third.headers["delete-token"] == first.result().json()["delete_token"]


def test_is_the_document_where_it_takes_too_long(service: Service) -> None:
    """202 after the wait that was preferred."""
    with service.paused():
        answer = send(service, IMAGES, prefer="wait=0")
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0")
    assert answer.json()["links"]["self"] == answer.headers["location"]


def test_is_the_problem_of_a_job_that_failed(service: Service) -> None:
    """422, with the document in it."""
    assert problem(send(service, IMAGES, data=PHOTO[:300]), 422, "undecodable")["job"]["status"] == "failed"


REFUSED: dict[str, tuple[str, str, str]] = {
    "several variants": (IMAGES, "", "?variants= with one of large, medium, small, thumb"),
    "another format": ("image/webp", "?variants=thumb", "The variant thumb is image/jpeg"),
    "neither": ("text/plain", "?variants=thumb", "application/json"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_before_the_body_where_it_cannot_be(service: Service, case: str) -> None:
    """406, with a word on what to do, and nothing is kept."""
    accept, query, hint = REFUSED[case]
    before = service.stats()["jobs"]["accepted"]
    with service.connect() as connection:
        fields = ("Content-Type: image/jpeg", "Content-Length: 1000", f"Accept: {accept}")
        connection.head(f"POST /v1/images{query}", *fields)
        answer = connection.answer()
    assert hint in problem(answer, 406, "not-acceptable")["detail"]
    assert answer.headers["vary"] == "Accept"
    assert service.stats()["jobs"]["accepted"] == before


def test_of_the_only_variant_needs_no_name_and_is_never_a_preview(tmp_path: Path) -> None:
    """Where one variant is configured. A full queue refuses, for a preview would be taken for the variant."""
    settings: dict[str, Any] = {"variants": "web=64@webp", "queue_size": 1, "on_full": "degrade"}
    with serving(tmp_path, **settings) as service:
        answer = send(service, IMAGES, "")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        with service.paused():
            assert send(service, "*/*", "").status_code == 202
            assert send(service, "*/*", "").json()["status"] == "degraded"
            for prefer in ("handling=lenient", f"wait={PATIENCE:.0f}"):
                refused = send(service, IMAGES, "", prefer=prefer)
                problem(refused, 503, REDUCED_CAPACITY, guard="queue")
                assert refused.headers["vary"] == "Accept"
