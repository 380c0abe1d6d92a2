"""The process of a task can read its upload and write its variants, and nothing else."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import samples
from tests.workers.process import prisoner
from tests.workers.process.children import DEADLINE_S, Worker, make_task
from workers.messages import Done

_ALLOWED = ("read the upload", "write a variant")
_REFUSED = {
    "rlimits": (
        "open many files",
        "write a huge file",
        "write more than a variant has",
        "take much memory",
    ),
    "landlock": (
        "read another file",
        "read the settings",
        "list a directory",
        "write the upload",
        "write elsewhere",
        "write through a link",
        "write what is not a variant",
        "climb out of the folder",
        "make a folder",
    ),
    "seccomp": (
        "remove a file",
        "empty a file elsewhere",
        "empty the upload as it is read",
        "make a file",
        "make many files",
        "make a file without a name",
        "link a file",
        "link the upload",
        "rename a variant",
        "change rights",
        "take the disk",
        "take the disk by a command",
        "write all disks",
        "write a whole disk",
        "wait for the disk",
        "open a socket",
        "open a local socket",
        "make a pair of sockets",
        "make a pipe",
        "start a program",
        "fork",
        "start a thread",
        "start thousands of threads",
        "signal its parent",
        "signal its parent's thread",
        "have a file signal its parent",
        "have a file signal a thread",
        "choose the signal of a file",
        "choose it with a hidden bit",
        "have signals sent",
        "have signals sent by a command",
        "name their receiver by a command",
        "name their receiver by another",
        "be told of a folder",
        "enlarge a pipe",
        "make readers wait",
        "lock a file",
        "choose its processor",
        "have the processor first",
        "have another schedule",
        "change its priority",
        "lock memory",
        "make a file in memory",
        "make a timer",
        "have requests done aside",
        "trace its parent",
        "outlive its parent",
        "enter a namespace",
    ),
}


@dataclass(frozen=True)
class Report:
    """The layers in force in a confined process, and the result of each of its attempts."""

    layers: dict[str, str]
    report: dict[str, str]


@pytest.fixture(scope="module")
def escape(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of a process that confined itself and tried to break out."""
    home = tmp_path_factory.mktemp("job")
    stranger = tmp_path_factory.mktemp("settings") / "secret"
    folder = home / "made"
    folder.mkdir()
    (folder / "door").symlink_to(stranger)
    for file in (home / "upload", folder / "note", stranger):
        file.write_bytes(b"private")
    command = [sys.executable, "-m", prisoner.__name__, str(home / "upload"), str(folder), str(stranger)]
    run = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=True)
    assert {file.name for file in folder.iterdir()} == {"door", "note", "it.jpg"}
    for file in (home / "upload", folder / "note", stranger):
        assert file.read_bytes() == b"private"
    return Report(**json.loads(run.stdout))


@pytest.mark.parametrize("attempt", _ALLOWED)
def test_a_job_can_do_its_work(escape: Report, attempt: str) -> None:
    """Confinement leaves what decoding and encoding need."""
    assert escape.report[attempt] == "done"


@pytest.mark.parametrize(
    ("layer", "attempt"), [(layer, attempt) for layer, several in _REFUSED.items() for attempt in several]
)
def test_a_job_can_do_nothing_else(escape: Report, layer: str, attempt: str) -> None:
    """Each forbidden attempt fails with the error of the layer that prevents it."""
    if escape.layers[layer].startswith("off"):
        pytest.skip(f"{layer} is {escape.layers[layer]}")
    assert escape.report[attempt] != "done"


def test_every_attempt_is_judged(escape: Report) -> None:
    """There is an expectation for each attempt of the program."""
    assert set(escape.report) == {
        *_ALLOWED,
        *(attempt for several in _REFUSED.values() for attempt in several),
    }


def test_a_child_without_libseccomp_says_so_and_works(tmp_path: Path) -> None:
    """A layer that the machine lacks is reported with the reason, and tasks are carried out all the same."""
    (tmp_path / "pyseccomp.py").write_text("raise RuntimeError('Unable to find libseccomp')")
    with Worker(PYTHONPATH=str(tmp_path)) as worker:
        assert worker.ready.sandbox["seccomp"] == "off: Unable to find libseccomp"
        assert isinstance(worker.run(make_task(tmp_path, samples.jpeg())), Done)


_WITH_THREADS = """
import os, threading
from workers.sandbox import Sandbox
layers = Sandbox.prepare(threads=True).confine(20.0, 2**28)
threading.Thread(target=os.write, args=(1, b"a thread\\n")).start()
try:
    os.fork()
except PermissionError:
    os.write(1, b"no process\\n")
print(layers["seccomp"])
"""


def test_where_a_codec_needs_threads_it_has_them(escape: Report) -> None:
    """Processes cannot be started all the same, and the layer says what it lacks."""
    if escape.layers["seccomp"].startswith("off"):
        pytest.skip(f"seccomp is {escape.layers['seccomp']}")
    run = subprocess.run(
        [sys.executable, "-c", _WITH_THREADS], capture_output=True, timeout=DEADLINE_S, check=True
    )
    assert set(run.stdout.decode().splitlines()) == {"a thread", "no process", "on, but for threads"}


def test_a_child_says_what_is_in_force(escape: Report) -> None:
    """Ready lists the layers that are in force in a fork, each on, or off with a reason."""
    with Worker() as worker:
        assert worker.ready.sandbox == escape.layers
    assert set(escape.layers) == {"rlimits", "no_new_privs", "landlock", "seccomp"}
    assert escape.layers["rlimits"] == escape.layers["no_new_privs"] == "on"
    assert all(state.startswith(("on", "off: ", "abi ")) for state in escape.layers.values())
