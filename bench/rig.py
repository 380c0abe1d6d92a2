"""What all benches use: options, servers on the loopback, CPU time and memory, tables and JSON."""

import argparse
import json
import os
import platform
import re
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_START_S = 60.0
_STOP_S = 30.0


# --- options and reports --------------------------------------------------------------------------------


def options(
    description: str | None, rounds: int, read_rounds: Callable[[str], int] = int
) -> argparse.ArgumentParser:
    """The options that every bench takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=read_rounds, default=rounds, help="rounds to take medians over (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


@dataclass(slots=True)
class Report:
    """A table of figures, one row for each thing that was measured."""

    bench: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        """Add a row; floats are shown with three significant digits."""
        self.rows.append(row)

    def show(self, file: Path | None) -> None:
        """Print the table, and write it as JSON to `file` if one is given."""
        print(f"\n{self.bench}  ({machine()})\n")
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [[name.replace("_", " ") for name in columns]]
        cells += [[_shown(row.get(name)) for name in columns] for row in self.rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        for line in cells:
            first, *rest = (cell for cell in line)
            numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
            print("  ".join([first.ljust(widths[0]), *numbers]).rstrip())
        for note in self.notes:
            print(f"\n{note}")
        sys.stdout.flush()
        if file is not None:
            command = " ".join(["python", "-m", self.bench, *sys.argv[1:]])
            document = {"bench": self.bench, "command": command, "machine": machine()}
            file.write_text(json.dumps(document | {"rows": self.rows, "notes": self.notes}, indent=2) + "\n")


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}" if value > 0.95 else f"{value:.3f}"


def machine() -> str:
    """Cores and versions, which figures depend on; nothing that names the machine."""
    return f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {platform.machine()}"


def median(values: Sequence[float]) -> float:
    """The median of rounds: unlike a mean, one slow round does not spoil it."""
    return statistics.median(values)


# --- processes ------------------------------------------------------------------------------------------


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def cpu_s(pid: int, *, reaped: bool = False, thread: int | None = None) -> float:
    """Seconds of CPU that a process has used, or one of its threads alone.

    `reaped` adds those of its children that have ended.
    """
    folder = f"/proc/{pid}" if thread is None else f"/proc/{pid}/task/{thread}"
    stat = Path(f"{folder}/stat").read_text()
    times = stat[stat.rindex(")") + 2 :].split()[11:15]
    return sum(int(value) for value in (times if reaped else times[:2])) / _TICKS


def faults(pid: int, *, reaped: bool = False) -> int:
    """Page faults without I/O of a process; `reaped` adds those of its children that have ended."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    own, of_children = map(int, stat[stat.rindex(")") + 2 :].split()[7:9])
    return own + of_children * reaped


def children(pid: int) -> list[int]:
    """Process ids of the living children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class NotStarted(Exception):
    """Raised when a server ended, or was silent for too long, before it listened."""


class Serving(NamedTuple):
    """A server that accepts connections."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """Seconds of CPU of the server, its workers and their forks that have ended."""
        return cpu_s(self.pid) + sum(cpu_s(child, reaped=True) for child in children(self.pid))

    def faults(self) -> int:
        """Page faults of all these."""
        return faults(self.pid) + sum(faults(child, reaped=True) for child in children(self.pid))


@contextmanager
def spillway(
    store: Path, core: int | None = None, code: Path | None = None, **settings: Any
) -> Iterator[Serving]:
    """Run `spillway serve` on a free port of the loopback, with its store and its log in `store`.

    It runs in that folder, so that no `.env` changes the figures. `settings` are names of settings in lower
    case; `core` pins the server and its workers to one CPU. `code` is the tree whose code runs, instead of
    the one that is installed.
    """
    given = {"host": HOST, "port": 0, "store_url": f"file:{store}/data"} | settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPILLWAY_")}
    environment |= {f"SPILLWAY_{name.upper()}": str(value) for name, value in given.items()}
    if code is not None:
        environment["PYTHONPATH"] = str(code)
    command = [str(Path(sys.executable).with_name("spillway")), "serve"]
    with (store / "log").open("w+b") as log:
        try:
            with started(command, environment, store, core, log) as serving:
                yield serving
        except NotStarted:
            log.seek(0)
            raise SystemExit(f"spillway did not start: {log.read().decode()[-500:]}") from None


@contextmanager
def baseline(name: str, *arguments: str, core: int | None = None) -> Iterator[Serving]:
    """Run `bench.baselines.NAME`, which prints its address once it accepts connections."""
    command = [sys.executable, "-m", f"bench.baselines.{name}", *arguments]
    with started(command, dict(os.environ), ROOT, core, None) as serving:
        yield serving


@contextmanager
def started(
    command: Sequence[str], environment: dict[str, str], folder: Path, core: int | None, log: Any
) -> Iterator[Serving]:
    """Run a server, which prints its address once it listens, in `folder` until the end of the block."""
    with pinned(*([] if core is None else [core])):  # the started process inherits the affinity
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        assert process.stdout is not None
        yield Serving(process.pid, _port_of(process.stdout.fileno()))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _port_of(output: int) -> int:
    deadline = time.monotonic() + _START_S
    said = b""
    while time.monotonic() < deadline:
        if select.select([output], [], [], 0.5)[0]:
            piece = os.read(output, 65_536)
            if not piece:
                break
            said += piece
            found = re.search(rb"http://127\.0\.0\.1:(\d+)", said)
            if found:
                return int(found[1])
    raise NotStarted


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Keep this process on these CPUs for the length of the block; without any, change nothing."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[int, int]:
    """A core for the server and one for the client; they are the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]
