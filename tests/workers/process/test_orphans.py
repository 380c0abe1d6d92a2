"""No worker process outlives the process that it works for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests import samples
from tests.workers.process.children import DEADLINE_S, Worker, ends, make_task

_PARENT = """
import sys
from pathlib import Path
from tests.workers.process.children import Worker, make_task
worker = Worker()
print(worker.pid, worker.start(make_task(Path(sys.argv[1]), None)), flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_when_the_server_is_killed(tmp_path: Path) -> None:
    """After SIGKILL the server cannot clean up; the kernel ends its children and their forks."""
    command = [sys.executable, "-c", _PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout
        child, fork = (os.pidfd_open(int(pid)) for pid in server.stdout.readline().split())
        server.kill()
        server.wait(timeout=DEADLINE_S)
        assert ends(child)
        assert ends(fork)


def test_a_fork_ends_with_its_warm_child(tmp_path: Path) -> None:
    """No task goes on when its worker process was killed."""
    with Worker() as worker:
        fork = os.pidfd_open(worker.start(make_task(tmp_path, None)))
        os.kill(worker.pid, signal.SIGKILL)
        assert ends(fork)


def test_a_child_whose_parent_is_gone_already_does_not_stay() -> None:
    """It also ends if the parent died before the child could ask the kernel for PR_SET_PDEATHSIG."""
    command = [sys.executable, "-m", "workers", "1" if os.getpid() != 1 else "2"]
    run = subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, timeout=DEADLINE_S, check=False)
    assert run.returncode == 0
    assert run.stdout == b""


def test_samples_reach_a_worker_at_all(tmp_path: Path) -> None:
    """Checks the programs of this module: a process that is started in this way makes a picture."""
    with Worker() as worker:
        worker.run(make_task(tmp_path, samples.jpeg()))
        assert (tmp_path / "made" / "it.jpg").is_file()
