"""Whatever a fork writes or does, only its own task fails, and nothing that it writes is trusted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.workers.process import hostile
from tests.workers.process.children import Worker, make_task
from workers.messages import Done, Failed

_PROGRAM = ("-m", hostile.__name__)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A worker process whose forks misbehave as the task's id says."""
    with Worker(*_PROGRAM) as running:
        yield running


@pytest.mark.parametrize(
    "behaviour",
    [
        "segfault",
        "abort",
        "silence",
        "huge-frame",
        "no-json",
        "half-frame",
        "other-type",
        "other-job",
        "other-variant",
        "too-large",
        "other-shape",
        "other-source",
        "missing-file",
        "linked-file",
        "piped-file",
        "html-file",
        "blames-parent",
        "claims-no-space",
        "closes-pipe",
    ],
)
def test_a_fork_that_misbehaves_has_died(worker: Worker, tmp_path: Path, behaviour: str) -> None:
    """Its answer is dropped, the worker process survives, and the next task is done."""
    failed = worker.run(make_task(tmp_path, samples.jpeg(), name=behaviour))
    assert isinstance(failed, Failed)
    assert failed.reason == "worker-died"
    # In a folder of its own: these forks are not confined, and would follow what the last one left.
    (tmp_path / "next").mkdir()
    assert isinstance(worker.run(make_task(tmp_path / "next", samples.jpeg(), name="honest")), Done)


def test_a_fork_that_spends_its_processor_time_was_too_slow(worker: Worker, tmp_path: Path) -> None:
    """The kernel's limit of CPU time has the same outcome as the deadline."""
    failed = worker.run(make_task(tmp_path, samples.jpeg(), name="cpu-limit"))
    assert isinstance(failed, Failed)
    assert failed.reason == "too-slow"


def test_a_fork_that_never_stops_talking_is_heard_once(worker: Worker, tmp_path: Path) -> None:
    """Its first frame counts; the rest is not read."""
    assert isinstance(worker.run(make_task(tmp_path, samples.jpeg(), name="endless")), Done)


def test_the_cost_of_a_job_is_not_taken_from_the_fork(worker: Worker, tmp_path: Path) -> None:
    """CPU time and memory are those that the kernel measured."""
    done = worker.run(make_task(tmp_path, samples.jpeg(), name="honest"))
    assert isinstance(done, Done)
    assert done.cpu_s < 9
    assert done.peak_bytes > 9


def test_a_child_whose_codecs_are_broken_ends(tmp_path: Path) -> None:
    """When the canary fails after a task died, the fault is with the process, so it exits."""
    with Worker(*_PROGRAM, "--dead-canary") as worker:
        failed = worker.run(make_task(tmp_path, samples.jpeg(), name="segfault"))
        assert isinstance(failed, Failed)
        assert worker.exit_status() == 1
