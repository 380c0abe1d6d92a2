"""Every bench starts under its own command; those whose libraries are not installed are left out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_COMMAND = {"link", "photos", "quality", "resizers", "returning", "rig", "baselines"}
"""What benches use, and `bench.resizers`, which `bench.imaging` starts."""
OPTIONAL = "matplotlib|pyvips|slowapi|urllib3"
COMMANDS = sorted(
    {path.stem for path in (ROOT / "bench").glob("[!_]*.py")}
    | {path.parent.name for path in (ROOT / "bench").glob("*/__main__.py")}
)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NO_COMMAND])
def test_a_bench_says_what_it_does(name: str) -> None:
    """`python -m bench.NAME --help` loads all that the bench needs, and prints more than its options."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if missing := re.search(rf"ModuleNotFoundError: No module named '({OPTIONAL})", done.stderr):
        pytest.skip(f"{missing[1]} is not installed")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5


def test_all_of_them_have_one_command() -> None:
    """`python -m bench` lists those that it runs."""
    from bench.__main__ import BENCHES

    assert set(BENCHES) <= set(COMMANDS)
