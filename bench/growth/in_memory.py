"""What grows in memory: waiting jobs, reservations, token buckets, deferred jobs, workers, jobs under way."""

import gc
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.backpressure.brownout import DeferredQueue
from app.backpressure.drain_rate import DrainRate
from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.reservation_table import Requester
from app.backpressure.reservations import QueueLoad, Reservations
from app.backpressure.token_bucket import GCRA
from app.backpressure.upload_queue import ShareExceeded, UploadQueue
from app.backpressure.waiting_room import WaitingRoom
from app.cluster.job_registry import JobRegistry
from app.cluster.upload_queue import SharedUploadQueue
from app.engine.job_handle import JobHandle
from app.job import Job, new_id
from app.runtime.memory import resident_bytes
from app.runtime.metrics import Histograms
from bench.growth.measure import Growth, Operation

_SIZES = (1_000, 10_000, 100_000)
_FULL = QueueLoad(load=1000, free_slots=0, unreserved_slots=0)


@dataclass(eq=False, slots=True)
class _Entry:
    client: str


def _queue(clients: int, each: int) -> Mapping[str, Operation]:
    """A queue in which `clients` have so many jobs each."""
    queue: UploadQueue[_Entry] = UploadQueue(clients * each, 10, each, DrainRate(2, 100))
    entries = [_Entry(f"client {number}") for _ in range(each) for number in range(clients)]
    for entry in entries:
        queue.reserve(entry.client).enqueue(entry)
        queue.count_client(entry.client)
    places, refused, numbers = itertools.cycle(entries), itertools.cycle(entries), itertools.count()

    def refuse_share() -> None:
        try:
            queue.check_share(next(refused).client)
        except ShareExceeded:
            return

    def come_and_go() -> None:
        entry = _Entry(f"newcomer {next(numbers)}")
        queue.count_client(entry.client)
        queue.reserve(entry.client).enqueue(entry)
        queue.remove(entry)

    return {
        "place of a job": lambda: queue.position(next(places)),
        "refusal by share": refuse_share,
        "upload that is cancelled": come_and_go,
        "job that is taken": queue.take_nowait,
    }


def _cluster(jobs: int) -> Mapping[str, Operation]:
    """A replica that knows of so many waiting jobs of others."""
    queue = SharedUploadQueue(jobs, 10, 20, DrainRate(2, 100), max_wait_s=60, receiving_elsewhere=lambda: 0)
    registry = JobRegistry(queue, Histograms())
    handles: list[JobHandle] = []
    for _ in range(jobs):
        job = Job(new_id(), 0.0, 10, ())
        registry.update(job)
        handle = registry.find(job.id)
        assert handle is not None
        handles.append(handle)
    places = itertools.cycle(handles)
    return {"place of a job": lambda: registry.position(next(places))}


def _reservations(outstanding: int) -> Mapping[str, Operation]:
    """A table with so many reservations, of which all come due together in the end."""
    now = [0.0]
    reservations = Reservations(2, 100, lambda: 1e6, 2 * outstanding, clock=lambda: now[0])
    numbers = itertools.count()

    def refuse() -> None:
        number = next(numbers)
        reservations.request(Requester(f"key {number}", f"client {number}", f"net {number // 50}"), _FULL)

    for _ in range(outstanding):
        refuse()

    def lapse() -> None:
        now[0] = 7200.0
        reservations.snapshot()

    room = WaitingRoom(UploadQueue[_Entry](100, 10, 20, DrainRate(2, 100)), reservations)
    exported = room.export(0.0)

    async def restart() -> None:
        other = Reservations(2, 100, lambda: 1e6, 2 * outstanding, clock=lambda: now[0])
        await WaitingRoom(UploadQueue[_Entry](100, 10, 20, DrainRate(2, 100)), other).restore(exported, 0.0)

    return {"refusal": refuse, "restart": restart, "second after all have lapsed": lapse}


def _buckets(clients: int) -> Mapping[str, Operation]:
    """A limiter that has seen so many clients."""
    limiter = RateLimiter(GCRA(2, 10), 2 * clients)
    for number in range(clients):
        limiter.acquire(f"client {number}")
    numbers = itertools.count()
    slower, faster = GCRA(1, 10), GCRA(2, 10)
    rates = itertools.cycle((slower, faster))
    return {
        "token": lambda: limiter.acquire(f"newcomer {next(numbers)}"),
        "lever of the demonstration": lambda: limiter.reconfigure(next(rates)),
    }


def _deferred(jobs: int) -> Mapping[str, Operation]:
    queue = DeferredQueue(2 * jobs)
    for number in range(jobs):
        queue.push(str(number))
    return {"job that is taken": queue.pop}


def _workers(processes: int) -> Mapping[str, Operation]:
    """So many processes of which the statistics tell the memory; the bound of WORKERS is 256."""
    pids = [os.getpid()] * processes
    return {"memory for a snapshot": lambda: resident_bytes(pids)}


def _collection(handles: int) -> Mapping[str, Operation]:
    """Garbage is looked for among so many jobs under way."""
    kept: list[Any] = [JobHandle(Job(new_id(), 0.0, 10, ()), "client") for _ in range(handles)]

    def collect_all() -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        assert kept

    collect_all()
    return {
        "collection every ten seconds": gc.collect,
        "one of everything, once memory has grown": collect_all,
    }


GROWTHS = (
    Growth("jobs that wait, of as many clients", _SIZES, lambda size: _queue(size, 1)),
    Growth("jobs that wait, twenty of each client", _SIZES, lambda size: _queue(size // 20, 20)),
    Growth("jobs that wait, all of one client", _SIZES, lambda size: _queue(1, size)),
    Growth("jobs that wait in a cluster", _SIZES, _cluster),
    Growth("reservations", _SIZES, _reservations),
    Growth("clients with a token bucket", _SIZES, _buckets),
    Growth("deferred jobs", _SIZES, _deferred),
    Growth("worker processes", (2, 20, 200), _workers),
    Growth("jobs under way", _SIZES, _collection),
)
