"""Measure over real sockets whether clients get in when Retry-After says, and whether asking early pays.

    python -m bench.promises [--rounds 1] [--seconds 10] [--load 5] [--workers 2] [--json FILE]

For `seconds` clients arrive at `load` times the rate that the service was just measured to achieve, each with
a photo of 2 MP and a loopback address of its own, at a queue of 20; then the bench waits until those that
were refused have returned. The clients are urllib3 with its own `Retry` and, one in ten, `curl --retry`. In
every other crowd one client in five is impatient and asks again each second.

The crowd takes CPU time from the workers while it comes, and gives it back afterwards: then they are faster
than when clients were told when to return. With one worker on two cores they hardly are.

Columns: `first`, the share of refused patient clients that got in at their first return; `all in`; `error s`,
mean seconds from the moment that Retry-After named first to the answer 202; `used`, the share of the workers'
time that was used while a refused client was not in yet, and `dry`, the share of samples meanwhile at which
the queue was empty; `gain s`, the seconds by which impatient clients got in sooner than patient ones that
came just before and after them; `wait s` and `told s`, the 99th percentile of the time that accepted photos
waited for a worker, and of their `estimated_wait_ms`; `in time`, the share of photos that waited at most a
quarter longer than estimated.
"""

import math
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

import urllib3

from bench import photos, rig
from bench.returning import (
    CURL,
    IMPATIENT,
    PATIENCE_S,
    PATIENT,
    Client,
    addresses,
    bring,
    bring_by_curl,
    drain,
    service,
    span,
)

_SLACK = 1.25


class Watcher:
    """Samples workers and queue five times a second while a refused client has yet to get in."""

    def __init__(self, port: int, clients: list[Client]) -> None:
        self._pool = urllib3.HTTPConnectionPool(rig.HOST, port)
        self._clients = clients
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.busy_s = self.watched_s = 0.0
        self.looks = self.dry = 0
        self._thread.start()

    def _run(self) -> None:
        last: tuple[float, float] | None = None
        while not self._over.wait(0.2):
            stats = self.stats()
            busy = sum(worker["busy_ms"] for worker in stats["workers"]) / 1000
            now = time.monotonic()
            someone = any(client.told is not None and client.entered is None for client in self._clients)
            if last is not None and someone:
                self.watched_s += now - last[0]
                self.busy_s += busy - last[1]
                self.looks += 1
                self.dry += not stats["backlog"]["waiting"]
            last = (now, busy) if someone else None

    def stats(self) -> dict[str, Any]:
        """The service's snapshot."""
        return dict(self._pool.request("GET", "/v1/stats").json())

    def end(self) -> float:
        """Stop sampling. Returns the busy time of all workers divided by the time sampled."""
        self._over.set()
        self._thread.join()
        self._pool.close()
        return self.busy_s / self.watched_s if self.watched_s else 1.0


def capacity(port: int, photo: bytes, names: Iterator[str]) -> float:
    """Photos per second that a closed loop of clients gets finished."""
    began = time.monotonic()
    clients = [Client(next(names), PATIENT) for _ in range(60)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda client: bring(port, client, photo), clients))
    drain(port)
    return len(clients) / (time.monotonic() - began)


def crowd(serving: rig.Serving, path: Path, load: float, seconds: float, impatient: float) -> dict[str, Any]:
    """Send one crowd, each client with the photo at `path`. Returns the columns of its row."""
    chance = random.Random(5)  # noqa: S311 - a crowd, not a secret
    names, photo, port = addresses(), path.read_bytes(), serving.port
    per_s = capacity(port, photo, names)
    waited_before = wait_sum(port)
    clients: list[Client] = []
    watcher = Watcher(port, clients)
    threads = []
    began = moment = time.monotonic()
    while (moment := moment + chance.expovariate(load * per_s)) < began + seconds:
        time.sleep(max(0.0, moment - time.monotonic()))
        kind = IMPATIENT if chance.random() < impatient else CURL if chance.random() < 0.1 else PATIENT
        client = Client(next(names), kind)
        clients.append(client)
        call: Callable[..., None] = bring_by_curl if kind == CURL else bring
        body: Any = path if kind == CURL else photo
        threads.append(threading.Thread(target=call, args=(port, client, body), daemon=True))
        threads[-1].start()
    end = time.monotonic() + PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    workers = len(watcher.stats()["workers"])
    used = watcher.end() / workers
    drain(port)
    wait_s, count = (after - before for after, before in zip(wait_sum(port), waited_before, strict=True))
    waits = waited(port, clients, wait_s / count)
    refused = [client for client in clients if client.told is not None and client.kind != IMPATIENT]
    errors = [client.entered - client.told for client in refused if client.entered and client.told]
    return {
        "capacity_per_s": per_s,
        "clients": len(clients),
        "refused": sum(client.told is not None for client in clients),
        "first": _mean([client.refusals == 1 and client.entered is not None for client in refused]),
        "all_in": fmean(client.entered is not None for client in clients),
        "error_s": _mean(errors),
        "used": used,
        "dry": watcher.dry / max(1, watcher.looks),
        "gain_s": gain(clients),
        "wait_s": _p99([wait for wait, _ in waits]),
        "told_s": _p99([told for _, told in waits]),
        "in_time": fmean(wait <= _SLACK * told for wait, told in waits),
    }


def waited(port: int, clients: list[Client], mean_s: float) -> list[tuple[float, float]]:
    """Seconds that each photo waited for a worker and its estimate, for photos whose answer is known.

    `mean_s` is the mean wait of all, as the service measured it. The mean time from acceptance to the end,
    less that, is what making a photo and writing it to disk takes, and is subtracted from each.
    """
    known = [client for client in clients if client.document.get("estimated_wait_ms")]
    with urllib3.HTTPConnectionPool(rig.HOST, port) as connections:
        spans = [span(connections, client) for client in known]
    made_s = fmean(spans) - mean_s
    told = (client.document["estimated_wait_ms"] / 1000 for client in known)
    return [(max(0.0, took - made_s), said) for took, said in zip(spans, told, strict=True)]


def wait_sum(port: int) -> tuple[float, float]:
    """The sum of the seconds that all photos so far have waited for a worker, and their number."""
    text = urllib3.request("GET", f"http://{rig.HOST}:{port}/metrics").data.decode()
    found = dict(line.split(" ") for line in text.splitlines() if line.startswith("spillway_wait_seconds_"))
    return float(found["spillway_wait_seconds_sum"]), float(found["spillway_wait_seconds_count"])


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def gain(clients: list[Client]) -> float | None:
    """Mean seconds by which refused impatient clients got in sooner than patient ones beside them."""
    late = [client for client in clients if client.told is not None and client.entered is not None]
    gains = []
    for at, client in enumerate(late):
        if client.kind != IMPATIENT:
            continue
        before = next((one for one in reversed(late[:at]) if one.kind != IMPATIENT), None)
        after = next((one for one in late[at:] if one.kind != IMPATIENT), None)
        beside = [_took(one) for one in (before, after) if one is not None]
        if beside:
            gains.append(fmean(beside) - _took(client))
    return fmean(gains) if gains else None


def _took(client: Client) -> float:
    return (client.entered or client.came) - client.came


def main() -> None:
    """Print the figures of each crowd."""
    parser = rig.options(__doc__, rounds=1)
    parser.add_argument("--load", type=float, default=5.0, help="times the capacity (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for which they come (%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the service (%(default)s)")
    options = parser.parse_args()
    report = rig.Report("bench.promises")
    with tempfile.TemporaryDirectory() as folder:
        path = photos.photo_file(Path(folder), "jpeg", 2)
        for _ in range(options.rounds):
            for impatient in (0.0, 0.2):
                with service(queue_size=20, workers=options.workers) as serving:
                    name = f"{options.load:g} x, {impatient:.0%} impatient"
                    report.add(crowd=name, **crowd(serving, path, options.load, options.seconds, impatient))
    report.show(options.json)


if __name__ == "__main__":
    main()
