"""How throughput grows with workers, and what one server process carries before a second one is needed.

    python -m bench.scaling [--rounds 3] [--seconds 6] [--workers 1 2 4 8] [--json FILE]

As many workers as there are cores, and fewer, are kept busy by the closed loop of `bench.throughput`; the
service is bound to as many cores as it has workers. For more of them the model says what follows: a photo
takes the CPU of a worker and that of the server, and n cores do n times as many, until the server's event
loop, which is one thread, is busy all the time (Amdahl's serial part).
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.photos import photo_file
from bench.refusals import EMPTY, refusal_us, sample
from bench.rig import Report, Serving, cores, cpu_s, median, options, pinned, spillway
from bench.throughput import OPEN, Round, through_http

_CLIENTS_PER_WORKER = 3
_REFUSALS = 20_000


def loop_s(serving: Serving) -> float:
    """Seconds of CPU that the thread of the server's event loop has used."""
    return cpu_s(serving.pid, thread=serving.pid)


def measure(photo: bytes, workers: int, seconds: float) -> tuple[Round, float]:
    """One measurement, and seconds of CPU of the event loop for each photo."""
    usable = sorted(os.sched_getaffinity(0))
    with (
        TemporaryDirectory(prefix="spillway-bench-") as name,
        pinned(*usable[:workers]),
        spillway(Path(name), workers=workers, **OPEN) as serving,
    ):
        before = loop_s(serving)
        found = through_http(serving, photo, workers * _CLIENTS_PER_WORKER, seconds)
        return found, (loop_s(serving) - before) / found.photos


def refusals_per_s(requests: int) -> float:
    """Refusals over kept connections for each second of the server's CPU."""
    server, client = cores()
    with (
        TemporaryDirectory(prefix="spillway-bench-") as name,
        spillway(Path(name), core=server, **EMPTY) as serving,
        pinned(client),
    ):
        sample(serving.port)
        return 1e6 / refusal_us(serving, 0, requests)


def main() -> int:
    """Measure what the machine has cores for, and print that and the model."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8], help="(%(default)s)")
    chosen = parser.parse_args()
    usable = len(os.sched_getaffinity(0))
    measured: dict[int, list[tuple[Round, float]]] = {}
    with TemporaryDirectory(prefix="spillway-bench-") as name:
        photo = photo_file(Path(name), "jpeg", 12).read_bytes()
    for _ in range(chosen.rounds):
        for workers in filter(lambda count: count <= usable, chosen.workers):
            measured.setdefault(workers, []).append(measure(photo, workers, chosen.seconds))
    every = [one for rounds in measured.values() for one in rounds]
    server_s = median([found.server_s for found, _ in every])
    worker_s = median([found.workers_s for found, _ in every])
    serial_s = median([loop for _, loop in every])
    report = Report("bench.scaling")
    for workers in chosen.workers:
        rounds = measured.get(workers)
        report.add(
            workers=workers,
            photos_per_s=median([found.per_s for found, _ in rounds]) if rounds else None,
            by_the_model=min(workers / (server_s + worker_s), 1 / serial_s),
        )
    report.notes.append(
        f"CPU of a photo: {1000 * worker_s:.1f} ms of a worker and {1000 * server_s:.1f} of the server, "
        f"{1000 * serial_s:.1f} of these in the thread of the event loop. So one server process carries at "
        f"most {1 / serial_s:.0f} photos a second, which {worker_s / serial_s:.0f} workers make; or "
        f"{refusals_per_s(_REFUSALS):,.0f} refusals a second over kept connections."
    )
    report.show(chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
