"""The warm worker process outlives its tasks, whatever happens to them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.processes import unable_to_fork
from tests.workers.process.children import DEADLINE_S, Worker, ends, make_task
from workers.messages import Cancel, Done, Failed, Ready


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One worker process, for the tests that leave it usable."""
    with Worker() as running:
        yield running


def vast(name: str) -> bytes:
    """A file of the format `name` that decodes to six megabytes."""
    data = getattr(samples, name)(1500, 1000)
    assert isinstance(data, bytes)
    return data


def test_a_job_is_made_and_accounted_for(worker: Worker, tmp_path: Path) -> None:
    """The outcome lists the variants that were made, their files, and the CPU time and memory used."""
    done = worker.run(make_task(tmp_path, samples.jpeg(400, 300), "a=100", "b=50@webp"))
    assert isinstance(done, Done)
    assert (
        [made.file for made in done.made]
        == sorted(file.name for file in (tmp_path / "made").iterdir())
        == ["a.jpg", "b.webp"]
    )
    assert 0 < done.cpu_s < DEADLINE_S
    assert 2**20 < done.peak_bytes < 2**29


def test_a_worker_gives_way_to_its_parent(worker: Worker) -> None:
    """A worker has a lower priority than the server, so that a refusal need not wait for a photo."""
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == min(ours + 5, 19)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic"])
def test_every_format_is_decoded_and_made_under_confinement(
    worker: Worker, tmp_path: Path, name: str
) -> None:
    """Every codec works in a confined process."""
    data = getattr(samples, name)(64, 48)
    done = worker.run(
        make_task(tmp_path, data, "a=32", "b=32@webp", "c=32@avif", "d=32@png", "e=9@webp+anim")
    )
    assert isinstance(done, Done)
    assert done.source.format == name
    profile = samples.rgb_profile(2.2, (0.68, 0.32), (0.28, 0.65), (0.155, 0.07))
    assert isinstance(worker.run(make_task(tmp_path, samples.jpeg(icc_profile=profile))), Done)


def test_a_broken_image_costs_its_own_job_alone(worker: Worker, tmp_path: Path) -> None:
    """The task fails for a reason of the image, and the same process carries out the next one."""
    failed = worker.run(make_task(tmp_path, samples.truncated(samples.jpeg())))
    assert isinstance(failed, Failed)
    assert failed.reason == "undecodable"
    assert isinstance(worker.run(make_task(tmp_path, samples.jpeg())), Done)


def test_a_job_past_its_deadline_is_killed(worker: Worker, tmp_path: Path) -> None:
    """A task that would never end is ended at its deadline."""
    fork = worker.start(make_task(tmp_path, None, timeout_s=0.3))
    outcome = worker.receive()
    assert outcome == Failed(
        "job-1",
        "too-slow",
        "The image took longer than the 0.3 s that one may take. Send a smaller version of it.",
    )
    assert not Path(f"/proc/{fork}").exists()
    assert isinstance(worker.run(make_task(tmp_path, samples.jpeg())), Done)


def test_a_cancelled_job_stops_at_once(worker: Worker, tmp_path: Path) -> None:
    """When the outcome arrives, the process of the task is gone."""
    fork = worker.start(make_task(tmp_path, None))
    worker.send(Cancel("job-1"))
    assert worker.receive() == Failed("job-1", "cancelled", "The job was cancelled.")
    assert not Path(f"/proc/{fork}").exists()


def test_a_cancel_that_comes_too_late_means_nothing(worker: Worker, tmp_path: Path) -> None:
    """A Cancel for another task than the one that runs is ignored."""
    worker.send(Cancel("job-0"))
    worker.start(make_task(tmp_path, None, timeout_s=0.3))
    worker.send(Cancel("job-0"))
    outcome = worker.receive()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "too-slow"


def test_a_job_that_is_killed_from_outside_has_died(worker: Worker, tmp_path: Path) -> None:
    """The worker process survives when the kernel kills a task, as it does when memory is short."""
    os.kill(worker.start(make_task(tmp_path, None)), signal.SIGKILL)
    outcome = worker.receive()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "worker-died"
    assert "SIGKILL" in outcome.detail
    assert isinstance(worker.run(make_task(tmp_path, samples.jpeg())), Done)


def test_a_process_that_cannot_be_started_now_is_started_later(worker: Worker, tmp_path: Path) -> None:
    """A task waits when fork(2) fails, and is carried out by the same worker process as soon as it can be."""
    with unable_to_fork(worker.pid):
        worker.send(make_task(tmp_path, samples.jpeg()))
        assert worker.is_silent(0.2)
    assert isinstance(worker.receive(), Done)


def test_a_task_for_which_no_process_can_be_started_is_given_back(worker: Worker, tmp_path: Path) -> None:
    """After a while the parent is told so, which is nobody's death; the next task is carried out."""
    descriptors = Path(f"/proc/{worker.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with unable_to_fork(worker.pid):
        worker.send(make_task(tmp_path, samples.jpeg()))
        outcome = worker.receive()
        assert isinstance(outcome, Failed)
        assert outcome.reason == "no-process"
        worker.send(make_task(tmp_path, samples.jpeg()))
        worker.send(Cancel("job-1"))
        assert worker.receive() == Failed("job-1", "cancelled", "The job was cancelled.")
        assert len(list(descriptors.iterdir())) == before
    assert isinstance(worker.run(make_task(tmp_path, samples.jpeg())), Done)


def test_a_task_without_a_folder_ends_before_it_begins(worker: Worker, tmp_path: Path) -> None:
    """The files of the variants are made before the process; where they cannot be made the task fails."""
    task = make_task(tmp_path, samples.jpeg())
    (tmp_path / "made").rmdir()
    worker.send(task)
    outcome = worker.receive()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "worker-died"
    assert isinstance(worker.run(make_task(tmp_path, samples.jpeg())), Done)


@pytest.mark.parametrize("megabytes", [1, 4, 16])
@pytest.mark.parametrize("name", ["png", "jpeg", "progressive", "webp", "gif", "tiff", "bmp", "avif"])
def test_a_job_that_needs_more_memory_than_allowed_is_told_so(
    worker: Worker, tmp_path: Path, name: str, megabytes: int
) -> None:
    """However a codec reports a failed allocation, the reason is memory; with enough the task is done."""
    data = samples.jpeg(1500, 1000, progressive=True) if name == "progressive" else vast(name)
    outcome = worker.run(make_task(tmp_path, data, "it=1500@png", memory_bytes=megabytes * 2**20))
    assert isinstance(outcome, Done) or outcome.reason == "too-much-memory"
    assert megabytes > 1 or isinstance(outcome, Failed)


def test_jobs_leave_nothing_behind(worker: Worker, tmp_path: Path) -> None:
    """After many tasks the process has as many descriptors and threads as before, and no zombies."""
    process = Path(f"/proc/{worker.pid}")
    before = len(list((process / "fd").iterdir()))
    for number in range(10):
        worker.run(make_task(tmp_path, samples.heic() if number % 2 else b"nonsense"))
    assert len(list((process / "fd").iterdir())) == before
    assert len(list((process / "task").iterdir())) == 1
    assert not (process / "task" / str(worker.pid) / "children").read_text()


def test_signals_of_a_terminal_do_not_end_a_job(worker: Worker, tmp_path: Path) -> None:
    """Running jobs finish while the server drains, so SIGINT and SIGTERM are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    assert isinstance(worker.run(make_task(tmp_path, samples.jpeg())), Done)


def test_the_child_ends_when_its_parent_closes_the_pipe(tmp_path: Path) -> None:
    """It exits with status 0, and the task that runs ends with it."""
    with Worker() as worker:
        fork = os.pidfd_open(worker.start(make_task(tmp_path, None)))
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
    """A process that receives no valid request exits with status 2."""
    with Worker() as worker:
        worker.send(data)
        assert worker.exit_status() == 2


def test_a_second_job_at_once_is_nonsense(tmp_path: Path) -> None:
    """A process carries out one task at a time: a second one makes it exit, and its fork too."""
    with Worker() as worker:
        fork = os.pidfd_open(worker.start(make_task(tmp_path, None)))
        second = tmp_path / "second"  # a folder of its own: the first must not find its upload there
        second.mkdir()
        worker.send(make_task(second, samples.jpeg(), name="job-2"))
        assert worker.exit_status() == 2
        assert ends(fork)


def test_a_child_loads_nothing_of_the_service() -> None:
    """A worker imports neither the web framework nor any module of `app`."""
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
