"""Runs one attack beside the honest client, and tells what the server and that client had of it."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from app.runtime.memory import TRIM_PERIOD_S
from bench.hostile.honest import HonestClient, Served
from bench.rig import cpu_s
from tests.service import COMMAND, Service

Run = Callable[[Service, float], str]
"""Attacks a service for some seconds. Returns a description of what it sent."""

_SAMPLE_INTERVAL_S = 0.05
_QUIET_WITHIN_S = 40.0
_LATE_AFTER_S = 60.0
COLUMNS = (
    "attack | sent | honest uploads, refused, failed | p50, p99 ms | read p99 | healthz p99 | CPUs"
    " | MiB before, peak, after | files"
)


@dataclass(frozen=True)
class Attack:
    """An attack, and the service that it wants beyond the usual settings.

    `max_files` is the limit of open files of that service. With `fills_queue` the honest client, too, may be
    refused for a while.
    """

    run: Run
    settings: Mapping[str, object] = field(default_factory=dict)
    max_files: int | None = None
    fills_queue: bool = False

    @property
    def setup(self) -> tuple[Mapping[str, object], int | None]:
        """What attacks on the same service have in common."""
        return self.settings, self.max_files


def nothing(_: Service, seconds: float) -> str:
    """No attack, for comparison."""
    time.sleep(seconds)
    return "nothing"


def service_class(max_files: int | None) -> type[Service]:
    """A service that may open so many files, or as many as this process."""
    if max_files is None:
        return Service

    class LimitedService(Service):
        command = ("sh", "-c", f'ulimit -n {max_files} && exec "$0" "$@"', COMMAND)

    return LimitedService


@dataclass(slots=True)
class _Peak:
    """The most that the server used: bytes of memory, open files."""

    memory: int = 0
    files: int = 0


@contextmanager
def _peak(service: Service) -> Iterator[_Peak]:
    """Look at the server, without its workers, twenty times a second until the end of the block."""
    peak, over = _Peak(), threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_INTERVAL_S):
            peak.memory = max(peak.memory, service.memory())
            peak.files = max(peak.files, len(os.listdir(f"/proc/{service.pid}/fd")))  # noqa: PTH208

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _attack(run: Run, service: Service, seconds: float, description: Connection) -> None:
    description.send(run(service, seconds))


def _start(run: Run, service: Service, seconds: float) -> tuple[Any, Connection]:
    """Start an attack in a process of its own; that process, and where its description comes from."""
    family = multiprocessing.get_context("fork")  # which inherits the service
    receiving, sending = family.Pipe(duplex=False)
    process = family.Process(target=_attack, args=(run, service, seconds, sending), daemon=True)
    process.start()
    sending.close()
    return process, receiving


def _finish(process: Any, description: Connection, seconds: float) -> str:
    """Wait for the end of an attack. Returns its description."""
    try:
        sent = description.recv() if description.poll(seconds + _LATE_AFTER_S) else "(did not end)"
    except EOFError:
        sent = "(the attack itself failed)"
    process.kill()
    process.join()
    return str(sent)


def measure(service: Service, name: str, attack: Attack, seconds: float) -> bool:
    """Run one attack and print its row. Returns whether the honest client was served throughout."""
    before, sockets = service.memory(), service.sockets()
    client = HonestClient(service.url)
    busy, since = cpu_s(service.pid), time.monotonic()  # of the server without its workers
    process, description = _start(attack.run, service, seconds)
    with _peak(service) as peak:
        sent = _finish(process, description, seconds)
        busy = (cpu_s(service.pid) - busy) / (time.monotonic() - since)
        honest = client.finish()
    _await_quiet(service, sockets, settles=not attack.fills_queue)
    sizes = before, peak.memory, service.memory()
    print(" | ".join([name.ljust(21), sent.ljust(52), *_cells(honest, busy, sizes, peak.files)]), flush=True)
    for line in sorted(set(honest.failed))[:5]:
        print(f"    {line[:200]}", flush=True)
    return not honest.failed and bool(honest.uploads) and (attack.fills_queue or not honest.refused)


def _await_quiet(service: Service, sockets: int, *, settles: bool) -> None:
    """Wait until the connections are closed, and unused memory has been returned to the system.

    `settles` says that no reservations are left, so that the service will soon expect nobody.
    """
    end = time.monotonic() + _QUIET_WITHIN_S
    while time.monotonic() < end and service.sockets() > sockets + 2:
        time.sleep(0.2)
    if settles:
        service.settled()
    time.sleep(2 * TRIM_PERIOD_S + 1)  # for everything is looked through after a quiet one


def _cells(honest: Served, busy: float, sizes: tuple[int, ...], files: int) -> list[str]:
    return [
        f"{len(honest.uploads):4} {honest.refused:3} {len(honest.failed):3}",
        f"{_percentile(honest.uploads, 0.5)} {_percentile(honest.uploads, 0.99)}",
        _percentile(honest.reads, 0.99),
        _percentile(honest.health, 0.99),
        f"{busy:.2f}",
        " ".join(f"{each >> 20:4}" for each in sizes),
        f"{files:5}",
    ]


def _percentile(values: list[float], share: float) -> str:
    """A percentile in milliseconds."""
    shown = f"{sorted(values)[int(len(values) * share)] * 1000:.0f}" if values else "-"
    return shown.rjust(5)
