"""Every example of the documents is run by a test, or has a reason here why not and is checked without."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main
import yaml

from app.commands import with_subcommands
from app.settings import PREFIX, Settings
from tools.site.layout import ROOT, is_page, tracked

PROGRAMS = {"sh", "console", "python", "js"}
"""The languages of blocks that somebody is meant to run."""
DATA = {"html", "http", "ini", "nginx", "text", "yaml", ""}
"""Those of blocks that are read or copied. Without a name: measured figures, and what a program printed."""

TRIED = {
    "README.md": "tests/test_readme.py",
    "clients/python/README.md": "tests/clients/test_against_the_service.py",
    "docs/api.md": "tests/test_readme.py",
    "docs/front-end.md: import { upload, wait }": "tests/web/test_uploaders.py",
    "docs/front-end.md: import Uppy": "tests/web/test_uploaders.py",
    "docs/front-end.md: import Dropzone": "tests/web/test_uploaders.py",
    "docs/front-end.md: import * as FilePond": "tests/web/test_uploaders.py",
    "docs/operations.md: SPILLWAY_ADMIN_PORT=9000": "tests/web/test_admin_port.py",
    "docs/sizing.md": "tests/test_sizing.py",
    "docs/tickets.md": "tests/test_ticket_recipes.py",
    "docs/upgrading.md: spillway serve": "tests/storage/test_backup.py",
    "docs/upgrading.md: tar": "tests/storage/test_backup.py",
    "docs/upgrading.md: import json": "tests/storage/test_backup.py",
    "docs/webhooks.md: import os": "tests/webhooks/test_docs.py",
}
"""The file whose tests take these blocks from the page and run them.

A key is a page, or a page and how its block begins.
"""

UNTRIED = {
    "CONTRIBUTING.md: make": "the checks themselves, and a release of ten minutes",
    "CONTRIBUTING.md: .venv/bin/python -m pytest": "the tests themselves",
    "docs/benchmarks.md": "minutes to hours; tests/bench/test_commands.py starts each of them",
    "docs/deploying.md: kubectl": "needs a cluster; tests/deploy/test_kubernetes.py knows the schemas",
    "docs/fuzzing.md": "up to an hour; tests/bench/test_commands.py starts it",
    "docs/reliability.md": "minutes; tests/bench/test_commands.py starts each of them",
    "docs/scale.md: nats-server": "has addresses of others; tests/cluster runs the same with its own",
    "docs/scale.md: docker compose": "needs a container engine; tests/system/container has one where it can",
    "docs/upgrading.md: docker compose": "needs a container engine; tests/storage/test_backup.py runs tar",
    "docs/webhooks.md: export": "needs a container engine; tests/system/container/test_webhooks.py",
}
"""Why nobody runs these blocks, and what holds for them besides what this file checks."""


_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `lines` are those that a shell would be given, without prompts and output."""

    page: str
    language: str
    lines: tuple[str, ...]

    def fits(self, key: str) -> bool:
        """Whether a key of the tables above means this block."""
        page, _, beginning = key.partition(": ")
        return self.page == page and self.lines[0].startswith(beginning)


def _blocks(page: str) -> Iterator[Block]:
    for language, text in _BLOCK.findall((ROOT / page).read_text()):
        lines = text.replace("\\\n", "").splitlines()
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        yield Block(page, language, tuple(lines))


PAGES = [path for path in tracked() if is_page(path)]
BLOCKS = [block for page in PAGES for block in _blocks(page)]
EXAMPLES = [block for block in BLOCKS if block.language in PROGRAMS]
COMMANDS = [line for block in EXAMPLES if block.language in ("sh", "console") for line in block.lines]


def test_every_block_says_what_it_is() -> None:
    """So that none is overlooked here, and the site shows it in colours."""
    assert {block.language for block in BLOCKS} <= PROGRAMS | DATA
    unnamed = [block.lines[0] for block in BLOCKS if not block.language]
    assert not [line for line in unnamed if re.match(r"(\$|curl|make|docker|spillway|SPILLWAY_)", line)]


def test_every_example_is_run_or_has_a_reason_why_not() -> None:
    """Each key of the two tables means something, and nothing is in both."""
    for block in EXAMPLES:
        keys = [key for key in (*TRIED, *UNTRIED) if block.fits(key)]
        assert len(keys) == 1, (block.page, block.lines[0], keys)
    assert [key for key in (*TRIED, *UNTRIED) if not any(block.fits(key) for block in EXAMPLES)] == []


@pytest.mark.parametrize("key", TRIED)
def test_who_runs_an_example_reads_its_page(key: str) -> None:
    """So that what is run is what stands there."""
    page = key.partition(": ")[0].removeprefix("docs/").removeprefix("clients/python/")
    assert page in (ROOT / TRIED[key]).read_text()


@pytest.mark.parametrize("reason", sorted(set(UNTRIED.values())))
def test_what_a_reason_names_is_there(reason: str) -> None:
    """The tests that it points to."""
    assert all((ROOT / path).exists() for path in re.findall(r"tests/[\w./]*\w", reason))


# --- what is checked of every command, whether it is run or not ------------------------------------------


def test_a_shell_understands_every_command() -> None:
    """Quotes are closed, loops have an end."""
    subprocess.run(["bash", "-n"], input="\n".join(COMMANDS), text=True, check=True, timeout=30)


def test_every_setting_that_is_set_exists() -> None:
    """In commands and in lines for .env."""
    lines = "\n".join(line for block in BLOCKS for line in block.lines)
    named = set(re.findall(rf"\b{PREFIX}([A-Z0-9_]+)=", lines))
    assert len(named) >= 8
    assert named <= {name.upper() for name in Settings.model_fields}


def words_after(program: str) -> Iterator[list[str]]:
    """The arguments of each command of this program, but for comments."""
    call = re.compile(rf"(?:^|[ (/]){program} ([^#|;)]*)")
    yield from (words.replace('"', "").split() for line in COMMANDS for words in call.findall(line))


@cache
def options_of_spillway() -> dict[str, set[str]]:
    """The options of each subcommand."""
    group = typer.main.get_command(with_subcommands())
    commands = group.commands.items()  # type: ignore[attr-defined]
    return {name: {option for each in command.params for option in each.opts} for name, command in commands}


def test_every_subcommand_and_option_of_spillway_exists() -> None:
    """`spillway size --photos-per-hour` and the like."""
    found = [words for words in words_after("spillway") if words[0] != "-C"]  # an image of this name runs tar
    assert len(found) >= 6
    for subcommand, *others in found:
        assert {word for word in others if word.startswith("--")} <= options_of_spillway()[subcommand]


def test_every_target_of_make_exists() -> None:
    """With the arguments of a shell, which ask for a program that is there."""
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    found = list(words_after("make"))
    assert len(found) >= 8
    assert {target for target, *_ in found} <= set(targets)


def test_every_module_and_its_options_exist() -> None:
    """`python -m bench.soak`: options stand in the source of its package."""
    found = list(words_after("python"))
    assert len(found) >= 6
    for flag, module, *others in found:
        spec = find_spec(module)
        assert flag == "-m"
        assert spec is not None
        if not module.startswith("bench"):
            continue
        folder = Path(spec.origin or "").parent
        source = "".join(path.read_text() for path in [*folder.glob("*.py"), *(ROOT / "bench").glob("*.py")])
        assert all(word in source for word in others if word.startswith("--") and word != "--help")


def test_every_file_of_compose_and_kubernetes_exists() -> None:
    """And the services that are scaled are in it."""
    for words in words_after("kubectl"):
        assert (ROOT / words[words.index("-k") + 1] / "kustomization.yaml").is_file()
    scaled = 0
    for words in words_after("docker"):
        file = words[words.index("-f") + 1] if "-f" in words else "docker-compose.yml"
        services = yaml.safe_load((ROOT / file).read_text())["services"]
        for name, _, count in (word.partition("=") for word in words):
            if count.isdecimal():
                assert name in services
                scaled += 1
    assert scaled == 3
