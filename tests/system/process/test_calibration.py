"""When a service starts for the first time, it measures what a job takes on its machine."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engine import calibration
from app.engine.calibration import _BUSY_PER_CPU, calibrate
from app.size_command import size
from app.sizing import TRIAL_MS
from tests.conftest import Start
from tests.service import until

LADDER = ("large=1600", "thumb=96")
ASSUMED_PER_S = 4.0
"""Jobs per second that are assumed of one worker before anything was measured."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where trials write their files, of which none is left in the end."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def measured(*variants: str) -> list[float]:
    """The seconds that are reported for a job with these variants."""
    reported: list[float] = []
    asyncio.run(calibrate(variants, reported.append))
    return reported


def test_a_trial_job_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job has the variants that it is given: more take longer. `spillway size --here` goes by that."""
    monkeypatch.chdir(folder)
    (short,) = measured("thumb=96")
    capsys.readouterr()
    size(1000, here=True, as_json=True)
    long = TRIAL_MS / 1000 / json.loads(capsys.readouterr().out)["speed"]
    assert 0.01 < short / _BUSY_PER_CPU < long < 10


@pytest.mark.usefixtures("folder")
def test_a_trial_that_fails_reports_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The assumption stays, until there are real jobs."""
    assert measured("no variant") == []
    assert "could not be measured" in capfd.readouterr().out


def test_a_trial_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    """Neither a process nor a file."""
    reported: list[float] = []

    async def cancelled() -> bool:
        trial = asyncio.create_task(calibrate(LADDER, reported.append))
        await asyncio.to_thread(until, lambda: list(folder.glob("*/source")), "the trial's photo")
        trial.cancel()
        await asyncio.wait([trial])
        return trial.cancelled()

    assert asyncio.run(cancelled())
    assert reported == []


def test_a_trial_that_misses_a_signal_is_sent_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its handler raises may be lost; a service that stops does not wait for the whole trial then."""
    misses_one = (
        "import pathlib, signal, sys, time\n"
        "signals = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1) if signals else signals.append(1))\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while True: time.sleep(60)\n"
    )
    ready = tmp_path / "ready"

    async def spawn(*_: str) -> asyncio.subprocess.Process:
        command = (sys.executable, "-c", misses_one, str(ready))
        return await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)

    async def cancelled() -> bool:
        trial = asyncio.create_task(calibrate(LADDER, lambda _: None))
        await asyncio.to_thread(until, ready.exists, "the process")
        trial.cancel()
        await asyncio.wait([trial])
        return trial.cancelled()

    monkeypatch.setattr(calibration, "spawn", spawn)
    assert asyncio.run(cancelled())


@pytest.mark.usefixtures("folder")
def test_a_trial_whose_service_is_gone_ends_silently() -> None:
    """The trial of a killed service goes on for a moment, with nobody left to read its output."""
    with subprocess.Popen(
        [sys.executable, "-m", "workers.trial_photo", *LADDER],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as trial:
        assert trial.stdout is not None
        assert trial.stderr is not None
        trial.stdout.close()
        assert trial.stderr.read() == b""
    assert trial.returncode == 0


def test_a_service_measures_a_trial_job_only_once(start: Start) -> None:
    """The first estimates come from the trial; those after a restart from the jobs of the earlier run."""
    service = start()
    until(lambda: service.stats()["backlog"]["drain_per_s"] != ASSUMED_PER_S, "the trial")
    service.ended(service.upload().json()["id"])
    measured_per_s = service.stats()["backlog"]["drain_per_s"]
    service.stop()
    assert service.errors().count("measured by a trial photo") == 1
    service.start()
    assert service.stats()["backlog"]["drain_per_s"] == measured_per_s
    service.stop()
    assert service.errors().count("measured by a trial photo") == 1
