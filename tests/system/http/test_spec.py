"""The description of the API is true: what it calls valid is taken, and every answer is as it says."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Service, environment, serving

ROOT = Path(__file__).parents[3]
EXPLORER = str(Path(sys.executable).with_name("schemathesis"))
CONFIGURATION = str(Path(__file__).with_name("spec") / "schemathesis.toml")
SETTINGS = {
    "rate": 100_000,
    "burst": 1_000_000,
    "queue_size": 1000,
    "client_share": 1000,
    "max_hold": 1,
    "keep_original": "true",
}
"""A service that refuses nobody, so that every call gets to what it asks for."""


def explore(url: str, *options: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Call every operation with data that fits its description, and with data that does not."""
    return subprocess.run(
        [EXPLORER, "--config-file", CONFIGURATION, "run", f"{url}/openapi.json", *options],
        cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(ROOT), "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def generous(tmp_path: Path) -> Iterator[Service]:
    """Has room for whatever is asked."""
    with serving(tmp_path, **SETTINGS) as service:
        yield service


def test_holds(generous: Service) -> None:
    """Every check of schemathesis passes, for each operation alone and along its links."""
    found = explore(generous.url, "--max-examples", "5", "--seed", "1", "--no-color", timeout=110)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    described = generous.get("/openapi.json").json()["paths"]
    assert f"Tested: {sum(map(len, described.values()))}" in found.stdout, found.stdout[-2000:]
