"""The unit for systemd names settings that exist and leaves the service little to reach."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.settings import Settings

UNIT = Path(__file__).parents[2] / "deploy/systemd/spillway.service"


def test_the_unit_exposes_little() -> None:
    """At most 2.0 of the 10 points that systemd gives for what a service could reach."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", UNIT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr


def test_the_unit_gives_a_drain_its_time() -> None:
    """And names no setting that does not exist."""
    text = UNIT.read_text()
    stop_s = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop_s is not None
    assert int(stop_s[1]) >= Settings.model_fields["drain_timeout"].default + 10
    assert set(re.findall(r"SPILLWAY_([A-Z_]+)=", text)) - {"NAME"} <= {
        name.upper() for name in Settings.model_fields
    }
