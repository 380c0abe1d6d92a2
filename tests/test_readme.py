"""The README tells the truth about the code."""

import re
from pathlib import Path

import pytest

from app.cli import _shown
from app.server.problems import KINDS
from app.settings import Settings

README = (Path(__file__).parent.parent / "README.md").read_text()
SETTINGS = README.partition("## Settings")[2].partition("## ")[0]
REFUSALS = README.partition("## Refusals")[2].partition("## ")[0]


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_settings_table_names_every_setting_in_order() -> None:
    """A setting without a row cannot be added."""
    names = [row[0].strip("`").lower() for row in rows(SETTINGS)]
    assert names == list(Settings.model_fields)


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "workers"])
def test_a_settings_row_shows_the_default_of_the_code(name: str) -> None:
    """What the table promises is what starts."""
    field = Settings.model_fields[name]
    shown = _shown(name, field.get_default())
    row = next(row for row in rows(SETTINGS) if row[0] == f"`{name.upper()}`")
    assert row[1].strip("`") == (shown or "empty")
    assert row[2] == field.description


def test_every_guard_has_a_row_in_the_table_of_refusals() -> None:
    """A reader finds each guard that may turn an upload away, with its status."""
    told = {(row[1].strip("`"), row[0].strip("`")) for row in rows(REFUSALS) if row[1]}
    assert told == {(kind.guard, str(kind.status)) for kind in KINDS.values() if kind.guard}


def test_every_file_the_readme_names_exists() -> None:
    """The path of an upload can be followed from the README."""
    root = Path(__file__).parent.parent
    for name in re.findall(r"`((?:app|workers|docs|bench)/[a-z_/.]*)`", README):
        assert (root / name).exists(), name
