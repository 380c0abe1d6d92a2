"""What a photo costs a worker beyond the same pipeline in a loop that stays warm.

    python -m bench.overhead [--sources 2mp.jpeg,…] [--rounds 7] [--jobs 4] [--json FILE]

A real worker (`python -m workers`), which forks a confined process for each photo, and a process that calls
the pipeline in a loop make the default variants of the same photos, alternately. Counted are milliseconds of
CPU in user mode and in the kernel, and page faults, for each photo; of the worker with its forks.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from app.engine.worker_process import environment
from app.settings import Settings
from bench.photos import photo_file
from bench.rig import ROOT, Report, median, options
from workers.codecs import load_codecs
from workers.imaging import create_files, make_variants
from workers.messages import Done, FrameBuffer, Task
from workers.parser import parse

_SOURCES = ("2mp.jpeg", "12mp.jpeg", "48mp.jpeg", "12mp.webp")
_SPECS = tuple(variant.spec for variant in Settings.model_fields["variants"].default)
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_READ_BYTES = 65_536
_MEMORY_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU milliseconds in user mode and in the kernel, and page faults."""

    user_ms: float
    system_ms: float
    faults: float

    def since(self, before: "Usage", jobs: int) -> "Usage":
        """What one of `jobs` took, if `before` was read before them."""
        return Usage(*((now - then) / jobs for now, then in zip(astuple(self), astuple(before), strict=True)))


class Worker:
    """A warm worker process, spoken to as the service does."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._buffer = FrameBuffer()
        self._payloads: list[bytes] = []
        self._read()

    def _read(self) -> object:
        assert self._process.stdout is not None
        while not self._payloads:
            data = os.read(self._process.stdout.fileno(), _READ_BYTES)
            if not data:
                raise SystemExit("the worker ended")
            self._payloads += self._buffer.feed(data)
        return parse(self._payloads.pop(0))

    def run(self, task: Task) -> None:
        """Have one task done."""
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), task.to_frame())
        answer = self._read()
        if not isinstance(answer, Done):
            raise SystemExit(f"the worker did not make the variants: {answer}")

    def usage(self) -> Usage:
        """What it and its forks that have ended took so far (proc(5), stat)."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = [int(value) for value in stat[stat.rindex(")") + 2 :].split()[7:15]]
        faults, reaped_faults, _, _, user, system, reaped_user, reaped_system = fields
        return Usage(
            (user + reaped_user) * _TICK_MS, (system + reaped_system) * _TICK_MS, faults + reaped_faults
        )


@contextmanager
def worker() -> Iterator[Worker]:
    """A worker with the environment that the service gives it, until the end of the block."""
    command = [sys.executable, "-P", "-m", "workers", str(os.getpid())]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment("workers"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Worker(process)
        assert process.stdin is not None
        process.stdin.close()


def _loop(task: Task, jobs: int) -> Usage:
    """Call the pipeline `jobs` times in this process: what one of them took."""
    load_codecs()
    before = _own_usage()
    for _ in range(jobs):
        make_variants(task, create_files(task))
    return _own_usage().since(before, jobs)


def _own_usage() -> Usage:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(used.ru_utime * 1000, used.ru_stime * 1000, used.ru_minflt)


def _task(source: Path, folder: Path) -> Task:
    folder.mkdir(exist_ok=True)
    return Task("bench", str(source), str(folder), _SPECS, 10**8, 60.0, _MEMORY_BYTES)


def measure(photo: Path, folder: Path, rounds: int, jobs: int) -> dict[str, list[Usage]]:
    """What a photo took the worker and the loop, by round."""
    found: dict[str, list[Usage]] = {"worker": [], "warm loop": []}
    inside, outside = _task(photo, folder / "forked"), _task(photo, folder / "looped")
    with worker() as forking, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        forking.run(inside)
        pool.submit(_loop, outside, 2).result()
        for _ in range(rounds):
            before = forking.usage()
            for _ in range(jobs):
                forking.run(inside)
            found["worker"].append(forking.usage().since(before, jobs))
            found["warm loop"].append(pool.submit(_loop, outside, jobs).result())
    return found


def main() -> None:
    """Measure every source, and report medians."""
    parser = options(__doc__, rounds=7)
    parser.add_argument("--sources", default=",".join(_SOURCES), help="photos to make (%(default)s)")
    parser.add_argument("--jobs", type=int, default=4, help="photos in a row, each round (%(default)s)")
    chosen = parser.parse_args()
    report = Report("bench.overhead")
    with TemporaryDirectory(prefix="spillway-bench-") as name:
        folder = Path(name)
        for source in chosen.sources.split(","):
            size, _, format_ = source.partition("mp.")
            photo = photo_file(folder, format_, int(size))
            found = measure(photo, folder, chosen.rounds, chosen.jobs)
            totals = {
                what: median([one.user_ms + one.system_ms for one in rounds])
                for what, rounds in found.items()
            }
            for what, rounds in found.items():
                report.add(
                    source=source,
                    by=what,
                    user_ms=median([one.user_ms for one in rounds]),
                    kernel_ms=median([one.system_ms for one in rounds]),
                    faults=round(median([one.faults for one in rounds])),
                    cpu_ms=totals[what],
                    beyond_the_loop_ms=totals[what] - totals["warm loop"],
                )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
