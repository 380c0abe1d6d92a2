"""Pages that show a file or a folder of the repository, for links that lead to code."""

import ast
import posixpath
from pathlib import Path

from tools.site.layout import ROOT, place

_LANGUAGES = {
    ".py": "python",
    ".js": "js",
    ".ts": "ts",
    ".yml": "yaml",
    ".json": "json",
    ".conf": "nginx",
    ".service": "ini",
    ".sh": "sh",
    ".toml": "toml",
    ".md": "md",
}
_MATTER = "---\ntitle: {title}\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n\n# `{title}`\n\n"


def show_file(path: str) -> str:
    """A page with the file's text."""
    language = _LANGUAGES.get(Path(path).suffix, "text")
    text = (ROOT / path).read_text().rstrip()
    return f'{_MATTER.format(title=path)}``````{language} linenums="1"\n{text}\n``````\n'


def show_folder(folder: str, files: list[str], shown: set[str]) -> str:
    """A page that lists what is below the folder, and what each module says of itself in its first line.

    Files that are shown on pages of their own are links.
    """
    here = posixpath.dirname(place(folder))
    rows = ["| file | what it is |", "| --- | --- |"]
    for path in files:
        name = posixpath.relpath(path, folder)
        cell = f"[`{name}`]({posixpath.relpath(place(path), here)})" if path in shown else f"`{name}`"
        rows.append(f"| {cell} | {_first_line(path)} |")
    return _MATTER.format(title=folder) + "\n".join(rows) + "\n"


def _first_line(path: str) -> str:
    if not path.endswith(".py"):
        return ""
    told = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return told.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
