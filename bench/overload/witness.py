"""Measures a system from outside: its CPU and memory through /proc, and the photos in its folder."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.rig import Serving, children, cpu_s

VARIANTS = frozenset({"large", "medium", "small", "thumb"})
_TICKS = os.sysconf("SC_CLK_TCK")
_PERIOD_S = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of CPU used until `at`: by the server with its workers, its first process, the crowd, all."""

    at: float
    server: float
    main: float
    crowd: float
    all: float


def _everybody_s() -> float:
    """Seconds of CPU that all processes, and other guests of the host, took: everything but idle time."""
    line = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def proportional(pid: int) -> int:
    """Bytes of memory of a process, with shared pages divided among those that share them (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with suppress(OSError):
        for child in children(pid):
            yield from tree(child)


class Witness:
    """Samples a server's memory in a thread; a server that takes more than `limit` bytes is killed."""

    def __init__(self, serving: Serving, crowd: int, limit: int) -> None:
        """`crowd` is the process id of the load generator."""
        self._serving, self._crowd, self._limit = serving, crowd, limit
        self.idle, self.idle_main = self.memory()
        self.peak, self.peak_main = self.idle, self.idle_main
        self.exceeded = False
        self._over = threading.Event()

    def memory(self) -> tuple[int, int]:
        """Bytes of the whole tree now, and of its first process alone."""
        shares = []
        for pid in tree(self._serving.pid):
            with suppress(OSError):
                shares.append(proportional(pid))
        return sum(shares), shares[0] if shares else 0

    def reading(self) -> Reading:
        """CPU until now; 0 for a process that has ended."""
        server = main = crowd = 0.0
        with suppress(OSError):
            server, main = self._serving.cpu_s(), cpu_s(self._serving.pid)
        with suppress(OSError):
            crowd = cpu_s(self._crowd)
        return Reading(time.time(), server, main, crowd, _everybody_s())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample for the length of the block."""
        thread = threading.Thread(target=self._sample)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _sample(self) -> None:
        while not self._over.wait(_PERIOD_S):
            now, main = self.memory()
            self.peak, self.peak_main = max(self.peak, now), max(self.peak_main, main)
            if now > self._limit:
                self.exceeded = True
                os.kill(self._serving.pid, 9)
                return


def finished(folder: Path) -> dict[str, dict[str, float]]:
    """When each variant of each photo below `folder` was written, in seconds since the epoch.

    A provisional one counts as that variant until the true one has replaced it.
    """
    photos: dict[str, dict[str, float]] = {}
    for path in folder.rglob("*"):
        name = path.name.partition(".")[0]
        if name in VARIANTS and "work" not in path.parts:
            with suppress(OSError):
                photos.setdefault(path.parent.name, {})[name] = path.stat().st_mtime
    return photos
