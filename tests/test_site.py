"""How the documentation site is made of the repository; `make docs` builds it and checks every link."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.server.problems import KINDS
from app.web.tour import TOUR
from tools.site import reference
from tools.site.check import misfits
from tools.site.layout import ROOT, anchor, is_page, place, rewrite, tracked


def entries(nav: list[dict[str, Any]]) -> Iterator[str]:
    """The pages of a navigation, which nests lists."""
    for entry in nav:
        for value in entry.values():
            yield from (value,) if isinstance(value, str) else entries(value)


def test_the_navigation_has_every_page_once() -> None:
    """A new page of docs has to be put into it."""
    listed = list(entries(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    written = {place(path) for path in tracked() if is_page(path)}
    assert sorted(listed) == sorted(written | {*reference.PAGES, "recording/index.html"})


def test_links_lead_to_where_the_pages_are_in_the_site() -> None:
    """Pages move up, files become pages below source, and what stands in code stays as it is."""
    page = (
        "# Two words, & more\n[a](api.md#x) [b](../app/job.py) [c](#d) [e](https://f)\n```\n[g](h.md)\n```\n"
    )
    cited: set[str] = set()
    assert rewrite(page, "docs/adr/0001-x.md", cited.add).splitlines() == [
        "# Two words, & more { #two-words--more }",
        "[a](api.md#x) [b](../source/docs/app/job.py.md) [c](#d) [e](https://f)",
        "```",
        "[g](h.md)",
        "```",
    ]
    assert cited == {"docs/adr/api.md", "docs/app/job.py"}
    assert place("README.md") == "index.md"
    assert place("app/backpressure") == "source/app/backpressure/index.md"


def test_an_anchor_is_that_of_the_host() -> None:
    """Of `code` and links the text counts."""
    assert anchor("The `Retry-After` of [a guard](x.md)") == "the-retry-after-of-a-guard"


def test_what_leads_nowhere_or_elsewhere_is_found(tmp_path: Path) -> None:
    """A missing page, a missing anchor, and things that a browser would load from another host; no other."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there/index.html").write_text('<h1 id="top">There</h1><a href="/">up</a>')
    (tmp_path / "style.css").write_text("@import '//fonts/x.css'; a {background: url(data:,)}")
    (tmp_path / "index.html").write_text(
        '<a href="there/#top">1</a><a href="there/#no">2</a><a href="gone/">3</a><a href="https://a/">4</a>'
        '<link rel="canonical" href="https://a/"><link rel="stylesheet" href="https://b/x.css">'
        '<script src="//c/x.js"></script><img src="data:,">'
    )
    assert list(misfits(tmp_path)) == [
        "index.html loads https://b/x.css",
        "index.html loads //c/x.js",
        "index.html links to there/#no, which has no such anchor",
        "index.html links to gone/, which is not there",
        "style.css loads //fonts/x.css",
    ]


def test_the_references_name_what_the_code_has() -> None:
    """Every problem, every command and every step of the lesson, each with what explains it."""
    problems = reference.PAGES["reference/problems.md"]()
    assert all(f"{{ #{kind.slug} }}\n" in problems and kind.remedy in problems for kind in KINDS.values())
    commands = reference.PAGES["reference/commands.md"]()
    assert "## `spillway put PATHS...`" in commands
    assert "| `--concurrency` | Uploads at once. | `4` |" in commands
    lesson = reference.PAGES["lesson.md"]()
    assert all(step.code in lesson and f"(source/{step.place}.md)" in lesson for step in TOUR)
