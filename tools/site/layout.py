"""Where each file of the repository is in the site, and how links between them are rewritten.

The pages are written to be read in the repository, so their links are paths there. In the site the
pages of docs are at the top, and every other file that a page links to becomes a page below `source`.
"""

import posixpath
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORDING = "docs/recording"
_MOVED = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CHANGELOG.md": "changelog.md",
    "clients/python/README.md": "python-client.md",
    "bench/baselines/README.md": "baselines.md",
    "docs/adr": "adr/index.md",
    "docs/adr/README.md": "adr/index.md",
    "clients/python": "python-client.md",
    RECORDING: "recording/index.html",
}
_LINK = re.compile(r"(\]\()(?!https?:|mailto:)([^)#\s]*)((?:#[^)\s]*)?\))")
_HEADING = re.compile(r"^(#+) (.+)$")


def tracked() -> list[str]:
    """Every file of the repository that git knows or would take, from its root."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(path for path in done.stdout.split("\0") if path and (ROOT / path).is_file())


def is_page(path: str) -> bool:
    """Whether a file of the repository is a page of its own in the site."""
    return path.endswith(".md") and (path in _MOVED or path.startswith("docs/"))


def is_picture(path: str) -> bool:
    """Whether a file of the repository is a picture that pages show."""
    return path.startswith("docs/") and Path(path).suffix in {".svg", ".jpg", ".webp"}


def place(path: str) -> str:
    """Where a file or folder of the repository is in the site's sources."""
    if path in _MOVED:
        return _MOVED[path]
    if is_page(path) or is_picture(path):
        return path.removeprefix("docs/")
    shown = path.lstrip(".")  # hidden folders would not be built
    return f"source/{shown}/index.md" if (ROOT / path).is_dir() else f"source/{shown}.md"


def outside_code(text: str) -> Iterator[tuple[str, bool]]:
    """The lines of a page, each with whether it is text: neither in a fenced block nor the fence of one."""
    fence = ""
    for line in text.splitlines():
        mark = re.match(r" *(`{3,})", line)
        if mark and not fence:
            fence = mark[1]
            yield line, False
        elif fence:
            yield line, False
            fence = "" if line.strip() == fence else fence
        else:
            yield line, True


def anchor(heading: str) -> str:
    """The anchor of a heading, as the hosts of repositories make it."""
    shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.lower())
    return re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")


def rewrite(text: str, path: str, cite: Callable[[str], None]) -> str:
    """A page of the repository, as it is in the site; `cite` is told of each file that it links to."""
    here = posixpath.dirname(place(path))

    def move(link: re.Match[str]) -> str:
        if not link[2]:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[2]))
        cite(target)
        return link[1] + posixpath.relpath(place(target), here or ".") + link[3]

    lines = []
    for line, is_text in outside_code(text):
        heading = _HEADING.match(line) if is_text else None
        moved = _LINK.sub(move, line) if is_text else line
        lines.append(f"{moved} {{ #{anchor(heading[2])} }}" if heading else moved)
    return "\n".join(lines) + "\n"
