"""Who gets a page instead of JSON."""

import pytest

from app.server.accept import prefers_html

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
    assert prefers_html(lines) is expected
