"""A warm child outlives what happens to its jobs, and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.workers.process.children import DEADLINE_S, Worker, ends, job
from workers.messages import Cancel, Done, Failed, Ready


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One child for all tests that leave it as it was."""
    with Worker() as running:
        yield running


def vast(name: str) -> bytes:
    """A file of the format `name` that decodes to six megabytes."""
    data = getattr(samples, name)(1500, 1000)
    assert isinstance(data, bytes)
    return data


def test_a_job_is_made_and_accounted_for(worker: Worker, tmp_path: Path) -> None:
    """The verdict says what was made, where, and what it cost."""
    done = worker.do(job(tmp_path, samples.jpeg(400, 300), "a=100", "b=50@webp"))
    assert isinstance(done, Done)
    assert (
        [made.file for made in done.made]
        == sorted(file.name for file in (tmp_path / "made").iterdir())
        == ["a.jpg", "b.webp"]
    )
    assert 0 < done.cpu_s < DEADLINE_S
    assert 2**20 < done.peak_bytes < 2**29


def test_a_worker_gives_way_to_its_parent(worker: Worker) -> None:
    """While both want a processor the server gets more of it, for a refusal must not wait for a photo."""
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == min(ours + 5, 19)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic"])
def test_every_format_is_decoded_and_made_under_confinement(
    worker: Worker, tmp_path: Path, name: str
) -> None:
    """No codec needs what a confined process lacks."""
    data = getattr(samples, name)(64, 48)
    done = worker.do(job(tmp_path, data, "a=32", "b=32@webp", "c=32@avif", "d=32@png", "e=9@webp+anim"))
    assert isinstance(done, Done)
    assert done.source.format == name
    profile = samples.rgb_profile(2.2, (0.68, 0.32), (0.28, 0.65), (0.155, 0.07))
    assert isinstance(worker.do(job(tmp_path, samples.jpeg(icc_profile=profile))), Done)


def test_a_broken_image_costs_its_own_job_alone(worker: Worker, tmp_path: Path) -> None:
    """The reason is the image's, and the next job is made by the same child."""
    failed = worker.do(job(tmp_path, samples.truncated(samples.jpeg())))
    assert isinstance(failed, Failed)
    assert failed.reason == "undecodable"
    assert isinstance(worker.do(job(tmp_path, samples.jpeg())), Done)


def test_a_job_past_its_deadline_is_killed(worker: Worker, tmp_path: Path) -> None:
    """A job that will never end ends at its deadline."""
    fork = worker.begin(job(tmp_path, None, timeout_s=0.3))
    verdict = worker.hear()
    assert verdict == Failed("job-1", "too-slow", "The image took longer to process than one image may.")
    assert not Path(f"/proc/{fork}").exists()
    assert isinstance(worker.do(job(tmp_path, samples.jpeg())), Done)


def test_a_cancelled_job_stops_at_once(worker: Worker, tmp_path: Path) -> None:
    """Its process is gone when its verdict arrives."""
    fork = worker.begin(job(tmp_path, None))
    worker.say(Cancel("job-1"))
    assert worker.hear() == Failed("job-1", "cancelled", "The job was cancelled.")
    assert not Path(f"/proc/{fork}").exists()


def test_a_cancel_that_comes_too_late_means_nothing(worker: Worker, tmp_path: Path) -> None:
    """Neither one for a job that was, nor one for another job, stops the one that runs."""
    worker.say(Cancel("job-0"))
    worker.begin(job(tmp_path, None, timeout_s=0.3))
    worker.say(Cancel("job-0"))
    verdict = worker.hear()
    assert isinstance(verdict, Failed)
    assert verdict.reason == "too-slow"


def test_a_job_that_is_killed_from_outside_has_died(worker: Worker, tmp_path: Path) -> None:
    """As the kernel does when memory is short: the child lives on."""
    os.kill(worker.begin(job(tmp_path, None)), signal.SIGKILL)
    verdict = worker.hear()
    assert isinstance(verdict, Failed)
    assert verdict.reason == "worker-died"
    assert "SIGKILL" in verdict.detail
    assert isinstance(worker.do(job(tmp_path, samples.jpeg())), Done)


@pytest.mark.parametrize("megabytes", [1, 4, 16])
@pytest.mark.parametrize("name", ["png", "jpeg", "progressive", "webp", "gif", "tiff", "bmp", "avif"])
def test_a_job_that_needs_more_memory_than_allowed_is_told_so(
    worker: Worker, tmp_path: Path, name: str, megabytes: int
) -> None:
    """Whatever a codec makes of a failed allocation, the reason is memory; where it suffices, all is well."""
    data = samples.jpeg(1500, 1000, progressive=True) if name == "progressive" else vast(name)
    verdict = worker.do(job(tmp_path, data, "it=1500@png", memory_bytes=megabytes * 2**20))
    assert isinstance(verdict, Done) or verdict.reason == "too-much-memory"
    assert megabytes > 1 or isinstance(verdict, Failed)


def test_jobs_leave_nothing_behind(worker: Worker, tmp_path: Path) -> None:
    """After many jobs the child has the descriptors and threads it had, and no dead children."""
    process = Path(f"/proc/{worker.pid}")
    before = len(list((process / "fd").iterdir()))
    for number in range(10):
        worker.do(job(tmp_path, samples.heic() if number % 2 else b"nonsense"))
    assert len(list((process / "fd").iterdir())) == before
    assert len(list((process / "task").iterdir())) == 1
    assert not (process / "task" / str(worker.pid) / "children").read_text()


def test_signals_of_a_terminal_do_not_end_a_job(worker: Worker, tmp_path: Path) -> None:
    """A drain lets running jobs finish, and the child is told to end by its parent alone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    assert isinstance(worker.do(job(tmp_path, samples.jpeg())), Done)


def test_the_child_ends_when_its_parent_closes_the_pipe(tmp_path: Path) -> None:
    """In peace, and with it the job that runs."""
    with Worker() as worker:
        fork = os.pidfd_open(worker.begin(job(tmp_path, None)))
        assert worker.process.stdin
        worker.process.stdin.close()
        assert worker.exit_status() == 0
        assert ends(fork)


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\0\0\0\2{}", Ready(1, {}).to_frame()],
    ids=["too long", "no message", "not a parent's"],
)
def test_a_child_that_is_told_nonsense_ends(data: bytes) -> None:
    """It cannot know what it was meant to do."""
    with Worker() as worker:
        worker.say(data)
        assert worker.exit_status() == 2


def test_a_second_job_at_once_is_nonsense(tmp_path: Path) -> None:
    """One job at a time; the fork of the first ends too."""
    with Worker() as worker:
        fork = os.pidfd_open(worker.begin(job(tmp_path, None)))
        second = tmp_path / "second"  # a folder of its own: the first must not find its upload there
        second.mkdir()
        worker.say(job(second, samples.jpeg(), name="job-2"))
        assert worker.exit_status() == 2
        assert ends(fork)


def test_a_child_loads_nothing_of_the_service() -> None:
    """Neither the web framework nor any of the application is in a worker."""
    command = [sys.executable, "-X", "importtime", "-m", "workers"]
    run = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=True
    )
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in run.stderr.decode().splitlines()}
    assert {"PIL", "pillow_heif"} <= loaded
    assert not loaded & {
        "app",
        "fastapi",
        "starlette",
        "uvicorn",
        "pydantic",
        "asyncio",
        "pickle",
        "structlog",
    }
