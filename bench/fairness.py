"""Who waits behind whom: fifty clients with one photo each, beside one with its full share.

    python -m bench.fairness [--rounds 3] [--json FILE]

One client brings twenty photos of 12 MP at once, as many as it may have in work, and a moment later fifty
clients bring one each; before it, as what to compare with, fifty alone. Columns: seconds that the photos of
either waited for a worker, mean and last; and how much later than alone the fifty got theirs, in the time
that the workers take for one photo. Where whoever comes first were served first it would be about twenty.
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import urllib3

from bench import photos, rig
from bench.returning import PATIENT, Client, addresses, bring, drain, job_s, service, span

_SHARE, _OTHERS = 20, 50


def waits(serving: rig.Serving, photo: bytes, groups: list[list[Client]]) -> list[list[float]]:
    """Seconds that the photos of each group waited for a worker, one group coming after the other."""
    threads = []
    for group in groups:
        for client in group:
            threads.append(threading.Thread(target=bring, args=(serving.port, client, photo)))
            threads[-1].start()
        until_accepted(group)
    for thread in threads:
        thread.join()
    drain(serving.port)
    with urllib3.HTTPConnectionPool(rig.HOST, serving.port) as connections:
        made_s = job_s(connections)
        return [[max(0.0, span(connections, client) - made_s) for client in group] for group in groups]


def until_accepted(group: list[Client]) -> None:
    """Wait until all of a group are in: it is the queue that is looked at, and not who uploads faster."""
    while any(client.entered is None for client in group):
        time.sleep(0.001)


def crowd(names: Iterator[str]) -> list[Client]:
    """Fifty clients."""
    return [Client(next(names), PATIENT) for _ in range(_OTHERS)]


def main() -> None:
    """Measure and print."""
    options = rig.options(__doc__, rounds=3).parse_args()
    report = rig.Report("bench.fairness")
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    full: list[list[float]] = []
    later: list[float] = []
    names = addresses()
    with tempfile.TemporaryDirectory() as folder:
        photo = photos.photo_file(Path(folder), "jpeg", 12).read_bytes()
        for _ in range(options.rounds):
            with service(queue_size=100, burst=_SHARE) as serving:
                alone += waits(serving, photo, [crowd(names)])
                one = next(names)
                for found, into in zip(
                    waits(serving, photo, [[Client(one, PATIENT) for _ in range(_SHARE)], crowd(names)]),
                    (full, beside),
                    strict=True,
                ):
                    into.append(found)
                with urllib3.HTTPConnectionPool(rig.HOST, serving.port) as connections:
                    stats = connections.request("GET", "/v1/stats").json()
                later.append((fmean(beside[-1]) - fmean(alone[-1])) * stats["backlog"]["drain_per_s"])
    for name, rounds in (("fifty alone", alone), ("fifty beside it", beside), ("one with twenty", full)):
        report.add(
            photos=name,
            mean_s=rig.median([fmean(found) for found in rounds]),
            last_s=rig.median([max(found) for found in rounds]),
            later_by_photos=rig.median(later) if rounds is beside else None,
        )
    report.show(options.json)


if __name__ == "__main__":
    main()
