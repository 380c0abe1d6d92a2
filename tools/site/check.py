"""What in a built site leads nowhere or is loaded from elsewhere."""

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
}
"""Elements whose address a browser loads with the page; a `link` that only names something is among them."""
_NAMING = {"canonical", "next", "prev", "alternate"}
_CSS_URL = re.compile(r"(?:url\(|@import )\s*[\"']?((?:https?:)?//[^\"')]+)")


class _Page(HTMLParser):
    """The anchors of a page, and the addresses that it links to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element has."""
        has = {name: value or "" for name, value in attrs}
        self.anchors |= {has[name] for name in ("id", "name") if name in has}
        address = has.get(_LOADED.get(tag, "href"))
        if address is None:
            return
        if tag in _LOADED and not (tag == "link" and has.get("rel") in _NAMING):
            self.loaded.append(address)
        self.links.append(address)


def misfits(site: Path) -> Iterator[str]:
    """A line for each link or anchor that is not there, and for what is loaded from another host."""

    @cache
    def read(file: Path) -> _Page:
        return _Page(file.read_text())

    for file in _files(site, "*.html"):
        page, name = read(file), file.relative_to(site)
        yield from (f"{name} loads {address}" for address in page.loaded if urlsplit(address).netloc)
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            base = site if parts.path.startswith("/") else file.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{name} links to {link}, which is not there"
            elif target.suffix == ".html" and unquote(parts.fragment) not in read(target).anchors | {""}:
                yield f"{name} links to {link}, which has no such anchor"
    for file in _files(site, "*.css"):
        addresses = _CSS_URL.findall(file.read_text())
        yield from (f"{file.relative_to(site)} loads {address}" for address in addresses)


def _files(site: Path, pattern: str) -> list[Path]:
    """Files alone: the page of `base.css` is a folder of this name."""
    return sorted(path for path in site.rglob(pattern) if path.is_file())
