"""The documents cite files and names that exist; modules, functions and signatures stay small."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*/*.md")])
WALKS = [ROOT / "docs/architecture.md", *sorted((ROOT / "docs/adr").glob("*.md"))]
"""The pages that cite names of the code, not only its files."""
SOURCES = sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")])

MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 300, 50, 7

_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:app|workers|tests|bench|docs|deploy)/[\w./-]*")
_DOTTED = re.compile(r"(?:app|workers)(?:\.\w+)+")
_NAME = re.compile(r"[A-Z]\w*(?:\.\w+)*|_?\w+(?:\.\w+)*\(\)")
"""A class, a member of one, or a function, which is cited with brackets."""
_FOREIGN = {"FastAPI", "TestClient", "OSError", "KINDS"}


def identify(page: Path) -> str:
    """A page's name in the report."""
    return str(page.relative_to(ROOT))


# --- what is cited exists -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files that a page links to exist, and so do the headings of those that are pages."""
    for target, heading in _LINK.findall(page.read_text()):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if heading and path.suffix == ".md":
            assert heading in headings(path), f"{target}#{heading}"


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_path_in_code_exists(page: Path) -> None:
    """`app/job.py`, `docs/adr`: paths are cited from the root of the repository."""
    for code in _CODE.findall(page.read_text()):
        if _PATH.fullmatch(code):
            assert (ROOT / code).exists(), code


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_dotted_name_exists(page: Path) -> None:
    """`app.engine`, `app.uploads.admission.Admission.admit`: a package, a module, or a name in one."""
    for code in _CODE.findall(page.read_text()):
        if not _DOTTED.fullmatch(code.partition(":")[0].removesuffix("()")):
            continue
        parts = code.partition(":")[0].removesuffix("()").split(".")
        depth = max(n for n in range(1, len(parts) + 1) if module(parts[:n]) is not None)
        file = module(parts[:depth])
        assert file is not None
        name = ".".join(parts[depth:]) or code.partition(":")[2]
        assert not name or name in names(file) or name == "app", code


def module(parts: list[str]) -> Path | None:
    """The file of a module or package."""
    path = ROOT.joinpath(*parts)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.exists():
            return file
    return path if path.is_dir() else None


@pytest.mark.parametrize("page", WALKS, ids=identify)
def test_every_name_is_in_the_file_cited_before_it(page: Path) -> None:
    """Classes and functions that a paragraph, list item or row cites are in the file cited before them."""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[*-]|\d+\.|\|) ?)", page.read_text()):
        file: Path | None = None
        for link, code in re.findall(r"\]\(([^)#\s]+\.py)\)|`([^`\n]+)`", block):
            if link:
                file = (page.parent / link).resolve()
            elif _PATH.fullmatch(code) and code.endswith(".py"):
                file = ROOT / code
            elif file is not None and _NAME.fullmatch(code) and not _is_foreign(code):
                assert code.removesuffix("()") in names(file), f"{code} in {file.relative_to(ROOT)}"


def _is_foreign(code: str) -> bool:
    return code.partition(".")[0] in _FOREIGN or code.isupper()


@cache
def names(file: Path) -> frozenset[str]:
    """What a module defines: its names, and `Class.member` of its classes."""
    if file.suffix != ".py":
        return frozenset()
    found: set[str] = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    collect(node.body, f"{node.name}.")
            for target in ast.walk(node) if isinstance(node, ast.Assign | ast.AnnAssign) else ():
                if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                    found.add(prefix + target.id)

    collect(ast.parse(file.read_text()).body, "")
    return frozenset(found)


def test_the_drawing_of_the_layers_is_the_contract() -> None:
    """Line by line, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    drawn = re.search(r"```text\n(cli\n.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)
    assert drawn
    layers = [set(layer.split(" | ")) for layer in contracts[0]["layers"]]
    assert [set(line.split()) for line in drawn[1].splitlines()] == layers


# --- sizes ----------------------------------------------------------------------------------------------


def oversized(file: Path) -> Iterator[str]:
    """What is too large in a module, unless a comment `# size: …` gives the reason."""
    lines = file.read_text().splitlines()
    shown = file.relative_to(ROOT)
    if len(lines) > MAX_LINES and not _has_reason("\n".join(lines[:20])):
        yield f"{shown}: {len(lines)} lines"
    for node in ast.walk(ast.parse("\n".join(lines))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if _has_reason("\n".join(lines[node.lineno - 1 : node.body[0].lineno])):
            continue
        assert node.end_lineno is not None
        length = node.end_lineno - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield f"{shown}:{node.lineno} {node.name}: {length} lines"
        arguments = node.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        count = len([each for each in parameters if each.arg not in ("self", "cls")])
        if count > MAX_PARAMETERS:
            yield f"{shown}:{node.lineno} {node.name}: {count} parameters"


def _has_reason(text: str) -> bool:
    return re.search(r"# size: \w+", text) is not None


def test_modules_functions_and_signatures_are_small() -> None:
    """At most 300, 50 and 7, or a reason stands beside it."""
    found = [line for file in SOURCES for line in oversized(file)]
    assert not found, "\n".join(found)
