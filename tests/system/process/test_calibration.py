"""What a job takes on this machine is tried when the service starts, if nobody knows it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engine.calibration import calibrate
from tests.conftest import Start
from tests.service import until

LADDER = ("large=1600", "thumb=96")
GUESS = 4.0
"""Jobs a second of one worker of which nothing is known."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the files of trials are, of which none is left in the end."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def tried(*variants: str) -> list[float]:
    """Try these variants; what is told."""
    told: list[float] = []
    asyncio.run(calibrate(variants, told.append))
    return told


@pytest.mark.usefixtures("folder")
def test_a_photo_is_made_for_trial() -> None:
    """What is told are the seconds of a real job with these very variants: more of them take longer."""
    (short,) = tried("thumb=96")
    (long,) = tried("large=3000@webp")
    assert 0.01 < short < long / 2 < 10


@pytest.mark.usefixtures("folder")
def test_a_trial_that_fails_tells_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The guess stays, until there are real jobs."""
    assert tried("no variant") == []
    assert "could not be measured" in capfd.readouterr().out


def test_a_trial_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    """Neither a process nor a file of it."""
    told: list[float] = []

    async def cancelled() -> bool:
        trial = asyncio.create_task(calibrate(LADDER, told.append))
        await asyncio.to_thread(until, lambda: list(folder.glob("*/source")), "the trial's photo")
        trial.cancel()
        await asyncio.wait([trial])
        return trial.cancelled()

    assert asyncio.run(cancelled())
    assert told == []


@pytest.mark.usefixtures("folder")
def test_a_trial_whose_service_is_gone_ends_without_a_word() -> None:
    """Killed at its start: its own trial goes on for a moment, and nobody reads what comes of it."""
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


def test_a_service_tries_what_it_does_not_know(start: Start) -> None:
    """The estimates before the first job come from the trial; after a restart from the jobs before it."""
    service = start()
    until(lambda: service.stats()["backlog"]["drain_per_s"] != GUESS, "the trial")
    service.ended(service.upload().json()["id"])
    learnt = service.stats()["backlog"]["drain_per_s"]
    service.stop()
    assert service.errors().count("measured by a trial photo") == 1
    service.start()
    assert service.stats()["backlog"]["drain_per_s"] == learnt
    service.stop()
    assert service.errors().count("measured by a trial photo") == 1
