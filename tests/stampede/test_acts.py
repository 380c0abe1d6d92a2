"""Each act in small, against a real server: it shows what it is there to show, and nothing is lost."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import samples
from tests.conftest import Start
from tests.service import COMMAND, PATIENCE, Service, environment, run, serving, stopped, until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose queue has four places."""
    folder = tmp_path_factory.mktemp("service")
    small: dict[str, Any] = {"queue_size": 4, "rate": 4, "burst": 4}
    with serving(folder, **small, variants="thumb=96") as started:
        yield started


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A photo of two megapixels with a thumbnail in its EXIF block."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(samples.jpeg(1600, 1200, thumbnail=samples.jpeg(160, 120)))
    return str(path)


def full_queue_answers(service: Service) -> int:
    """How many uploads were refused, or answered with a preview, because the queue was full."""
    stats = service.stats()
    return int(stats["refusals"]["queue"] + stats["jobs"]["degraded"])


def played(folder: Path, service: Service, *options: str, fill_queue: bool = False) -> dict[str, Any]:
    """Run one act to its end with nothing lost; its figures, which agree with those of the service.

    With `fill_queue` the workers are stopped until an upload finds the queue full. Without that it depends on
    the machine, and on what else runs on it, whether the clients are faster than the workers.
    """
    before = service.stats()
    already_full = full_queue_answers(service)
    command = [COMMAND, "stampede", service.url, "--seconds", "0.5", "--json", *options]
    with ExitStack() as workers_stopped:
        if fill_queue:
            workers_stopped.enter_context(stopped(service.workers()))
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as stampede:
            try:
                if fill_queue:
                    until(lambda: full_queue_answers(service) > already_full, "a full queue")
                    workers_stopped.close()
                output, errors = stampede.communicate(timeout=PATIENCE)
            finally:
                stampede.kill()
    assert stampede.returncode == 0, errors
    document = json.loads(output)
    assert document["kept_everything"]
    (figures,) = document["acts"]
    answered = sum(figures["answers"].values())
    assert figures["sent"] == answered + figures["left"]
    assert figures["kept"] == figures["promised"] == figures["answers"].get("202", 0)
    after = service.stats()
    jobs = {name: count - before["jobs"][name] for name, count in after["jobs"].items()}
    assert jobs["accepted"] == jobs["done"] == figures["promised"]
    assert jobs["degraded"] == figures["answers"].get("200", 0)
    refusals = {name: count - before["refusals"][name] for name, count in after["refusals"].items()}
    told = {**figures["guards"], "408": figures["answers"].get("408", 0)}
    assert {name: count for name, count in refusals.items() if count} == {
        name: count for name, count in told.items() if count
    }
    assert figures["server"]["capacity"] == after["backlog"]["capacity"]
    return dict(figures)


def test_the_bully_is_told_429_and_when_to_return(start: Start, tmp_path: Path, photo: str) -> None:
    """It has one address; what its bucket allowed is accepted and done, for the queue has room for that."""
    service = start(rate=4, burst=4, variants="thumb=96")
    figures = played(tmp_path, service, "--act", "bully", "--photo", photo)
    assert figures["addresses"] == 1
    assert figures["photos"] == figures["sent"] == 20
    assert figures["guards"].keys() == {"rate"}
    assert figures["moments_named"] == figures["answers"]["429"] > 0
    assert figures["kept"] > 0


def test_the_crowd_is_told_503_as_the_queue_is_full(service: Service, tmp_path: Path, photo: str) -> None:
    """Each client is polite, so nobody is told 429."""
    figures = played(tmp_path, service, "--act", "crowd", "--rate", "200", "--photo", photo, fill_queue=True)
    assert figures["addresses"] == figures["photos"] == figures["sent"] == 100
    assert figures["guards"].keys() == {"queue"}
    assert "429" not in figures["answers"]
    assert figures["moments_named"] == figures["answers"]["503"] > 0
    assert figures["server"]["memory_peak"] >= figures["server"]["memory_before"] > 0


def test_the_patient_crowd_gets_in_at_last(service: Service, tmp_path: Path, photo: str) -> None:
    """Each refused client comes back when it was told, and is asked for no more than that."""
    figures = played(tmp_path, service, "--act", "patient", "--rate", "80", "--photo", photo, fill_queue=True)
    assert figures["turned_away"] > 0
    assert figures["in_at_last"] == figures["turned_away"]
    assert 0 < figures["in_at_first_return"] <= figures["turned_away"]
    assert figures["promise_error_s"] >= 0
    assert figures["promised"] == figures["photos"] == figures["addresses"] == 40
    assert figures["sent"] > 40


def test_the_impatient_crowd_gets_in_no_earlier(service: Service, tmp_path: Path, photo: str) -> None:
    """Each asks every two seconds until it gets in, and needs more requests than one that comes when told."""
    figures = played(
        tmp_path, service, "--act", "impatient", "--rate", "80", "--photo", photo, fill_queue=True
    )
    assert figures["in_at_last"] == figures["turned_away"] > 0
    assert figures["promised"] == figures["photos"] == 40
    assert figures["people"].startswith("40 people; 40 got in;")
    assert figures["people"].endswith("nobody lost.")


def test_the_lenient_crowd_gets_previews(service: Service, tmp_path: Path, photo: str) -> None:
    """An upload that finds the queue full is answered with a preview of one of the kinds."""
    figures = played(
        tmp_path, service, "--act", "lenient", "--rate", "200", "--photo", photo, fill_queue=True
    )
    assert sum(figures["previews"].values()) == figures["answers"]["200"] > 0
    assert figures["previews"]["exif"] > 0
    assert figures["moments_named"] == figures["answers"]["200"]
    assert "503" not in figures["answers"]


def test_the_slow_ones_are_told_408_and_harm_nobody(start: Start, tmp_path: Path, photo: str) -> None:
    """A hundred clients hold receiving slots; the photos of the others are done."""
    service = start(upload_timeout=1)
    figures = played(tmp_path, service, "--act", "slow", "--photo", photo)
    assert figures["answers"]["408"] == 100
    assert 100 < figures["photos"] == figures["sent"] == figures["addresses"]
    assert figures["kept"] > 0
    assert figures["server"]["dock_peak"] > 0


def test_a_failed_job_is_told_and_makes_the_exit_status_1(service: Service, tmp_path: Path) -> None:
    """An accepted upload whose job fails is a broken promise."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(samples.truncated(samples.jpeg(640, 480), 0.2))
    ended = run(
        *("stampede", service.url, "--act", "bully", "--seconds", "0.5", "--photo", str(broken)),
        folder=tmp_path,
    )
    assert ended.returncode == 1
    assert "Not all was kept: 0 of" in ended.stdout


def test_what_is_no_spillway_gets_no_stampede(tmp_path: Path) -> None:
    """Nothing is uploaded to a server without /v1/stats."""
    with subprocess.Popen(
        ["python3", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:
        try:
            assert other.stdout is not None
            port = re.search(r"port (\d+)", other.stdout.readline())
            assert port is not None
            ended = run("stampede", f"http://127.0.0.1:{port[1]}", folder=tmp_path)
        finally:
            other.kill()
    assert ended.returncode == 2
    assert "is no Spillway" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_show_ends_with_the_table_so_far(
    service: Service, tmp_path: Path, photo: str, number: signal.Signals
) -> None:
    """On a pipe the output is plain text; Ctrl+C causes no traceback."""
    before = service.stats()["jobs"]["accepted"]
    with subprocess.Popen(
        [COMMAND, "stampede", service.url, "--seconds", "60", "--photo", photo],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    ) as show:
        until(lambda: service.stats()["jobs"]["accepted"] > before, "uploads")
        show.send_signal(number)
        screen, errors = show.communicate(timeout=PATIENCE)
    assert show.returncode == 130
    assert "Act 1 of 6: the bully" in screen
    assert "What was sent, answered, promised, kept" in screen
    assert "Interrupted: this is what came of it so far" in screen
    assert "\x1b" not in screen
    assert errors == ""


def test_several_at_once_print_one_table(service: Service, tmp_path: Path, photo: str) -> None:
    """They meet in a folder; one prints the figures of all, the others nothing."""
    folder = tmp_path / "together"
    folder.mkdir()
    command = [COMMAND, "stampede", service.url, "--act", "bully", "--seconds", "0.5", "--photo", photo]
    with ExitStack() as running:
        shows = [
            running.enter_context(
                subprocess.Popen(
                    [*command, "--together", str(folder)],
                    cwd=tmp_path,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(3)
        ]
        said = [show.communicate(timeout=PATIENCE)[0] for show in shows]
    assert {show.returncode for show in shows} == {0}
    (table,) = [each for each in said if each]
    assert "The figures of 3 stampedes at the same time" in table
    assert re.search(r"photos +60\b", table)
    assert table.count("What was sent, answered, promised, kept") == 1
    assert [path.name for path in folder.iterdir()] == ["leader"]


def test_a_terminal_shows_live_figures(service: Service, tmp_path: Path, photo: str) -> None:
    """Uploads, queue and memory are drawn while the act runs."""
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "stampede", service.url, "--act", "bully", "--seconds", "0.5", "--photo", photo],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        cwd=tmp_path,
        env=environment() | {"TERM": "xterm", "COLUMNS": "100"},
    ) as show:
        os.close(terminal)
        said = _all(screen)
        assert show.wait(PATIENCE) == 0
    assert said.count("queue") > 3
    assert re.search(r"memory.*MB.*peak", said)
    assert "429" in said


def _all(screen: int) -> str:
    said = b""
    while select.select([screen], [], [], PATIENCE)[0]:
        try:
            piece = os.read(screen, 65_536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        said += piece
    os.close(screen)
    return said.decode()
