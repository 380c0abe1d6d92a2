"""What people meet who report or change something: forms that the host accepts, labels, a dev container."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
FIELDS = {"checkboxes", "dropdown", "input", "markdown", "textarea"}
"""The kinds of fields that GitHub's issue forms know."""


def read(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_what_it_needs(path: Path) -> None:
    """Each field has a label and an id of its own; something has to be filled in; its label exists."""
    form = read(path)
    assert {"name", "description", "labels", "body"} == form.keys()
    assert {field["type"] for field in form["body"]} <= FIELDS
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in asked}) == len(asked)
    assert all(field["attributes"]["label"] for field in asked)
    assert any(field.get("validations", {}).get("required") for field in asked)
    assert set(form["labels"]) <= {label["name"] for label in read(ROOT / ".github/labels.yml")}


def test_labels_are_as_the_host_wants_them() -> None:
    """A name, six hexadecimal digits and at most a hundred characters."""
    for label in read(ROOT / ".github/labels.yml"):
        assert label.keys() == {"name", "color", "description"}
        assert len(bytes.fromhex(label["color"])) == 3
        assert len(label["description"]) <= 100


def test_the_dev_container_is_built_of_a_file_that_is_there() -> None:
    """It publishes the port of the service and makes the environment by the Makefile."""
    folder = ROOT / ".devcontainer"
    container = json.loads((folder / "devcontainer.json").read_text())
    assert (folder / container["build"]["dockerfile"]).is_file()
    assert container["forwardPorts"] == [8000]
    target = container["postCreateCommand"].removeprefix("make ")
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()


def test_the_dev_container_has_what_the_checks_want() -> None:
    """So that no test skips in it."""
    wanted = set(re.findall(r"wanted\+=\(([\w-]+)\)", (ROOT / ".ci/run").read_text()))
    assert len(wanted) >= 4
    assert wanted <= set((ROOT / ".devcontainer/Dockerfile").read_text().split())
