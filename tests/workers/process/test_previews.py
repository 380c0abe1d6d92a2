"""The preview worker: whatever a thumbnail does to the process that decodes it, the next preview is made."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests import samples
from tests.processes import unable_to_fork
from workers.frames import LENGTH_BYTES, make_frame
from workers.messages import Ready
from workers.parser import parse
from workers.preview import NO_PREVIEW
from workers.thumbnail import read_plain_jpeg_size

_WORKER = """
import os, signal, sys, time
from workers import preview

def spin(): [None for _ in iter(int, 1)]
def sleep(): time.sleep(60)
def die(): os.kill(os.getpid(), signal.SIGKILL)
def leave(): os._exit(0)
def run_out_of_memory(): return bytes(2**30)
def say_too_much(): return bytes(2**20)
def read_a_file(): return open("/etc/hostname", "rb").read()
def write_a_file(): return open("/tmp/taken-over", "wb").write(b"x")
def start_a_process(): return b"%d" % os.fork()
def read_the_next_request(): return os.read(3, 1)

make_preview = preview.make_preview
def misbehave(segment):
    act = segment.removeprefix(b"Exif\\0\\0").decode("latin-1")
    return globals()[act]() if act in globals() else make_preview(segment)
preview.make_preview = misbehave
sys.exit(preview.main())
"""

_SEGMENT = samples.exif(6, thumbnail=samples.jpeg(160, 120, orientation=6))

Ask = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def worker() -> Iterator[tuple[Ready, Ask]]:
    """A preview worker whose forks do what their segment says: its Ready, and a function to ask it."""
    command = [sys.executable, "-c", _WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin
        assert stdout

        def answer() -> bytes:
            return stdout.read(int.from_bytes(stdout.read(LENGTH_BYTES), "big"))

        def ask(segment: bytes) -> bytes:
            stdin.write(make_frame(segment))
            stdin.flush()
            return answer()

        ready = parse(answer())
        assert isinstance(ready, Ready)
        yield ready, ask
        stdin.close()
        assert process.wait(timeout=10) == 0


_HARMLESS = ("spin", "sleep", "die", "leave", "run_out_of_memory", "say_too_much", "read_the_next_request")
_CONFINED = {"read_a_file": "landlock", "write_a_file": "rlimits", "start_a_process": "seccomp"}


@pytest.mark.parametrize("act", [*_HARMLESS, *_CONFINED])
def test_a_hostile_thumbnail_spoils_its_own_preview_alone(worker: tuple[Ready, Ask], act: str) -> None:
    """It is answered with NO_PREVIEW, and the next segment with its preview."""
    ready, ask = worker
    layer = ready.sandbox[_CONFINED.get(act, "rlimits")]
    if layer.startswith("off"):
        pytest.skip(f"this machine confines nothing here: {layer}")
    assert ask(b"Exif\0\0" + act.encode()) == NO_PREVIEW
    assert read_plain_jpeg_size(ask(_SEGMENT)) == (160, 120)


def test_a_preview_for_which_there_is_no_process_is_not_made(worker: tuple[Ready, Ask]) -> None:
    """A failing fork(2) costs that preview alone."""
    ready, ask = worker
    with unable_to_fork(ready.pid):
        assert ask(_SEGMENT) == NO_PREVIEW
    assert read_plain_jpeg_size(ask(_SEGMENT)) == (160, 120)


@pytest.mark.parametrize("segment", [b"-", b"Exif\0\0", samples.exif(), bytes(65_535)])
def test_there_is_no_preview_of_nothing(worker: tuple[Ready, Ask], segment: bytes) -> None:
    """A segment without a thumbnail, or that is no EXIF at all, is answered with NO_PREVIEW."""
    assert worker[1](segment) == NO_PREVIEW
