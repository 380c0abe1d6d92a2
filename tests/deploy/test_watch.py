"""The table of metrics, the alert rules and the dashboard fit what `/metrics` tells."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service import serving

ROOT = Path(__file__).parents[2]
WATCH = ROOT / "deploy/watch"
TABLE = (ROOT / "docs/metrics.md").read_text()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, str]]:
    """What a service tells of each metric: its kind, its label and its text."""
    with serving(tmp_path_factory.mktemp("metrics"), workers=1) as service:
        text = service.get("/metrics").body.decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels = dict(re.findall(r'^(\S+)\{(\w+)="', text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    return {
        name: (kind, labels.get(name, ""), helps[name])
        for name, kind in kinds.items()
        if not name.endswith("_created")
    }


def test_the_table_has_each_metric_as_it_is_told(told: dict[str, tuple[str, str, str]]) -> None:
    """One that is added gets a row, and one that goes loses it."""
    rows = re.findall(r"^\| `(spillway_\w+)` \| (\w+) \| (?:`(\w+)` )?\| (.*) \|$", TABLE, re.MULTILINE)
    assert {name: (kind, label, text) for name, kind, label, text in rows} == told


@pytest.mark.parametrize("file", ["alerts.yml", "alerts_test.yml", "dashboard.json"])
def test_nothing_asks_for_a_metric_that_is_not_told(told: dict[str, tuple[str, str, str]], file: str) -> None:
    """A panel or a rule of a metric that was renamed would stay empty without a word."""
    asked = set(re.findall(r"spillway_[a-z_]+", (WATCH / file).read_text()))
    assert asked
    assert {re.sub("_bucket$", "", name) for name in asked} <= set(told)


def test_each_panel_says_what_it_shows() -> None:
    """No two overlap, each has a description and asks the data source that was chosen."""
    panels = json.loads((WATCH / "dashboard.json").read_text())["panels"]
    covered: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells
        covered |= cells
        assert panel["description"].endswith(".")
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_each_alert_has_a_remedy_and_fires_when_it_should() -> None:
    """`promtool` checks the configuration and runs the rules' own tests."""
    alerts = (WATCH / "alerts.yml").read_text()
    assert alerts.count("- alert:") == alerts.count("remedy:") == alerts.count("severity:")
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            ["promtool", *command], cwd=WATCH, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
