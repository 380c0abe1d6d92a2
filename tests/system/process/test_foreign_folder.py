"""Code that lies in the folder where the command is run is not ours, and is never run."""

import asyncio
import subprocess
import sys
import sysconfig
import venv
from asyncio.subprocess import DEVNULL
from pathlib import Path

import pytest

from app.engine.worker_process import spawn
from tools.main_job import lay_out, try_all

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of the wheel that this repository makes, in an environment with borrowed dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv")
    python = folder / "venv/bin/python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install, wheel], check=True, timeout=60)
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "venv/bin/spillway"


def test_the_installed_command_runs_beside_a_project_with_packages_of_its_names(installed: Path) -> None:
    """Service, workers, calibration, preview worker and every other command run, and a photo is made."""
    try_all(str(installed))


@pytest.mark.parametrize("module", ["app.cli", "workers.trial_photo"])
def test_a_process_of_any_module_runs_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """The one function that starts every child keeps the current folder out of the search."""
    mark = lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)

    async def status() -> int:
        process = await spawn(module, "--help" if module == "app.cli" else "thumb=16", stdin=DEVNULL)
        await process.communicate()
        return process.returncode or 0

    assert asyncio.run(status()) == 0
    assert not mark.exists()
