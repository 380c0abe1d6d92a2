"""How long fifty clients with one photo each wait beside one client that has its full share in the queue.

    python -m bench.fairness [--rounds 3] [--json FILE]

One client uploads twenty photos of 12 MP, as many as CLIENT_SHARE allows, and then fifty clients upload one
each; for comparison, fifty clients alone. The workers are stopped until all are in, so that the order of the
queue is measured and not the speed of the uploads. Columns: seconds from then on until a worker begins with
the photos of each group, mean and last; and by how many photos' time the fifty were served later than
alone. First in, first out, that would be about twenty.
"""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import urllib3

from bench import photos, rig
from bench.returning import PATIENT, Client, addresses, bring, drain, finished, job_s, service

_SHARE, _OTHERS = 20, 50
_AT_ONCE = 10


@contextmanager
def standing_still(serving: rig.Serving) -> Iterator[None]:
    """Stop the workers (SIGSTOP) for the length of the block."""
    workers = [
        child
        for child in rig.children(serving.pid)
        if b"workers" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    ]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)


def waits(serving: rig.Serving, photo: bytes, groups: list[list[Client]]) -> tuple[list[list[float]], float]:
    """Upload one group after the other. Returns the seconds each photo waited, and those for one photo."""
    with standing_still(serving), ThreadPoolExecutor(_AT_ONCE) as pool:
        for group in groups:
            list(pool.map(lambda client: bring(serving.port, client, photo), group))
    began = time.time()
    drain(serving.port)
    with urllib3.HTTPConnectionPool(rig.HOST, serving.port) as connections:
        ends = [[finished(connections, client) - began for client in group] for group in groups]
        made_s = job_s(connections)
    each_s = max(max(group) for group in ends) / sum(map(len, groups))
    return [[max(0.0, end - made_s) for end in group] for group in ends], each_s


def main() -> None:
    """Measure and print."""
    options = rig.options(__doc__, rounds=3).parse_args()
    report = rig.Report("bench.fairness")
    found: dict[str, list[list[float]]] = {"fifty alone": [], "fifty beside it": [], "one with twenty": []}
    later = []
    names = addresses()
    with tempfile.TemporaryDirectory() as folder:
        photo = photos.photo_file(Path(folder), "jpeg", 12).read_bytes()
        for _ in range(options.rounds):
            with service(queue_size=100, burst=_SHARE, job_timeout=300) as serving:
                one = next(names)
                heavy = [Client(one, PATIENT) for _ in range(_SHARE)]
                (alone,), _ = waits(serving, photo, [_fifty(names)])
                (full, beside), each_s = waits(serving, photo, [heavy, _fifty(names)])
            later.append((fmean(beside) - fmean(alone)) / each_s)
            for rows, row in zip(found.values(), (alone, beside, full), strict=True):
                rows.append(row)
    for name, rows in found.items():
        report.add(
            photos=name,
            mean_s=rig.median([fmean(row) for row in rows]),
            last_s=rig.median([max(row) for row in rows]),
            later_by_photos=rig.median(later) if name == "fifty beside it" else None,
        )
    report.show(options.json)


def _fifty(names: Iterator[str]) -> list[Client]:
    return [Client(next(names), PATIENT) for _ in range(_OTHERS)]


if __name__ == "__main__":
    main()
