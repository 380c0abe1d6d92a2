"""Who gets a page, or a picture, instead of JSON."""

import pytest

from app.server.accept import Accept

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([BROWSER], True),
        (["text/html"], True),
        (["TEXT/HTML;q=0.5;charset=utf-8"], True),
        (["image/png", "text/html"], True),
        (["text/html, */*"], True),
        (["text/*, application/json;q=0.5"], True),
        (["application/json;q=0.9, text/html"], True),
        ([], False),
        (["*/*"], False),
        ([""], False),
        (["application/json, text/plain, */*"], False),
        (["application/json, text/html"], False),
        (["application/problem+json, text/html;q=0.9"], False),
        (["text/html;q=0.1, */*"], False),
        (["text/html;q=0"], False),
        (["text/html;q=most"], False),
        (["text/event-stream"], False),
        (["image/avif,image/webp,*/*;q=0.8"], False),
        ([";;,=,q=1"], False),
        (["a" * 30_000, "text/html," * 3000], True),
    ],
)
def test_a_page_is_for_who_prefers_html(lines: list[str], expected: bool) -> None:
    """Browsers name it before anything; other clients take anything, or want JSON."""
    assert Accept.parse(lines).prefers_html() is expected


@pytest.mark.parametrize(
    ("lines", "picture", "jpeg", "json"),
    [
        (["image/*"], True, True, False),
        (["IMAGE/JPEG"], True, True, False),
        (["image/webp"], True, False, False),
        (["image/webp, */*;q=0.1"], True, False, True),
        (["image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"], True, True, True),
        (["image/*;q=0.9", "application/json;q=0.5"], True, True, True),
        (["image/*, image/jpeg;q=0"], True, False, False),
        (["image/*, application/json"], False, False, True),
        (["image/*;q=0.5, */*"], False, False, True),
        (["image/*;q=0"], False, False, False),
        ([BROWSER], False, False, True),
        (["text/html, image/*, */*;q=0.8"], False, False, True),
        (["*/*"], False, False, True),
        ([], False, False, True),
        (["", "nonsense"], False, False, True),
        (["application/problem+json"], False, False, True),
        (["application/*"], False, False, True),
        (["text/plain"], False, False, False),
        (["text/html"], False, False, False),
        (["application/json;q=0, */*"], False, False, False),
    ],
)
def test_a_picture_is_for_who_prefers_one(lines: list[str], picture: bool, jpeg: bool, json: bool) -> None:
    """Named with more weight than JSON and pages: any picture, or a JPEG; and who may get JSON."""
    accept = Accept.parse(lines)
    assert (accept.prefers_picture(), accept.prefers_picture("image/jpeg")) == (picture, jpeg)
    assert accept.takes_json() is json
