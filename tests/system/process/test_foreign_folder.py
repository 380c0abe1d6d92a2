"""Code that lies in the folder where the command is run is not ours, and is never run."""

import asyncio
from asyncio.subprocess import DEVNULL
from pathlib import Path

import pytest

from app.engine.worker_process import spawn
from tests.conftest import Start
from tests.service import Executed, execute

MODULES = ("app", "workers", "random", "json", "asyncio", "typing", "PIL", "uvloop", "sitecustomize")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that appears when any of the modules in `tmp_path` is imported."""
    mark = tmp_path / "imported"
    code = f"import os\nos.close(os.open({str(mark)!r}, os.O_CREAT))\nraise SystemExit('foreign code')\n"
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(code)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
    return mark


def test_a_service_and_its_children_run_none_of_it(mark: Path, start: Start) -> None:
    """Workers, the preview worker and the calibration start, and a photo is made."""
    service = start(kind=Executed, demo=True)
    assert service.previewer()
    assert service.ended(service.upload().json()["id"])["status"] == "done"
    assert not mark.exists()
    assert "foreign code" not in service.errors()


@pytest.mark.parametrize("arguments", [("--help",), ("check",), ("serve", "--help"), ("stampede", "--help")])
def test_the_other_commands_run_none_of_it(mark: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The script of the command does not look for modules there."""
    done = execute(*arguments, folder=tmp_path, workers=1, worker_memory="64MiB")
    assert done.returncode == 0, done.stderr
    assert not mark.exists()


@pytest.mark.parametrize("module", ["app.cli", "workers.trial_photo"])
def test_a_process_of_any_module_runs_none_of_it(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """The one function that starts every child keeps the current folder out of the search."""
    monkeypatch.chdir(tmp_path)

    async def status() -> int:
        process = await spawn(module, "--help" if module == "app.cli" else "thumb=16", stdin=DEVNULL)
        await process.communicate()
        return process.returncode or 0

    assert asyncio.run(status()) == 0
    assert not mark.exists()
