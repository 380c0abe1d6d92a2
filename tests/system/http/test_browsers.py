"""What a browser sees of a refusal: a page with a way home, where other clients get JSON."""

import httpx
import pytest

from app.web.pages import CONTENT_SECURITY_POLICY
from tests.service import Service
from tests.system.http.expect import problem

PAGE = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
REFUSED = {
    "/nothing": (404, "not-found"),
    "/v1/images/AAAAAAAAAAAAAAAAAAAAAA": (404, "not-found"),
    "/v1/images/x/thumb": (404, "not-found"),
    "/problems/nothing": (404, "not-found"),
    "/static/nothing.css": (404, "not-found"),
    "/v1/images": (405, "method-not-allowed"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_refusal_is_a_page_for_a_browser(client: httpx.Client, path: str) -> None:
    """With the status and the fields of the problem; HEAD answers alike, and others get JSON."""
    status, kind = REFUSED[path]
    page = client.get(path, headers=PAGE)
    assert page.status_code == status
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert '<a href="/">' in page.text
    assert f"/problems/{kind}" in page.text
    head = client.head(path, headers=PAGE)
    assert (head.status_code, head.headers["content-type"]) == (status, page.headers["content-type"])
    for accept in ("*/*", "application/json", "image/avif,image/webp,*/*;q=0.8"):
        document = client.get(path, headers={"accept": accept})
        problem(document, status, kind)
        for answer in (document, page, head):
            assert "Accept" in answer.headers["vary"]
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers.get("allow") == document.headers.get("allow")


def test_what_a_browser_sends_is_shown_as_text(client: httpx.Client) -> None:
    """Nothing of a request becomes part of the page unescaped."""
    page = client.get("/<script>alert(1)</script>?<b>", headers=PAGE)
    assert page.status_code == 404
    assert "alert(1)" not in page.text


def test_an_upload_gets_json_from_a_browser_too(service: Service) -> None:
    """Scripts of pages read it, whatever they accept."""
    answer = service.upload(b"text" * 300, **PAGE)
    problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("target", "fields", "status", "kind"),
    [
        ("/" + "a" * 9000, [], 414, "uri-too-long"),
        ("/", [f"X-{number}: {'a' * 1000}" for number in range(40)], 431, "headers-too-large"),
        ("/", ["Content-Length: 1", "Content-Length: 2"], 400, "bad-request"),
    ],
    ids=["414", "431", "400"],
)
def test_a_head_that_is_refused_is_a_page_too(
    service: Service, target: str, fields: list[str], status: int, kind: str
) -> None:
    """The connection answers it before there is a request, and asks Accept as the application does."""
    for accept, media_type in ((PAGE["accept"], "text/html"), ("*/*", "application/problem+json")):
        with service.connect() as connection:
            connection.head(f"GET {target}", f"Accept: {accept}", *fields)
            answer = connection.answer()
        assert answer.status == status
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.headers["vary"] == "Accept"
        assert answer.headers["connection"] == "close"
        assert kind in answer.body.decode()
