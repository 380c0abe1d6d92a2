"""Measures what a cluster costs: jobs, refusals, and uploads that found the queue full when complete."""

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from bench.cluster.machines import Machines
from bench.photos import photo_file
from bench.refusals import EMPTY, refusal_us, sample
from bench.rig import HOST, Report, Serving, children, cpu_s
from tests.service import SMALL, Service, until

_PLENTY = {"rate": 100_000, "burst": 100_000, "client_share": 10_000, "max_wait": 3600, "brownout": "off"}
_UPLOADERS = 8
_REQUESTS = 5000
_QUEUE = 20
_RACERS = 60
_RACE_S = 60.0
_IDLE_S = 5.0
_JOBS_TIMEOUT_S = 600.0


def run(folder: Path, jobs: int) -> None:
    """Measure everything and print tables."""
    photo = photo_file(folder, "jpeg", 2).read_bytes()
    report = Report("bench.cluster scale: jobs")
    for workers in (1, 2, 4):
        with Machines(folder / f"workers{workers}", 1, **_PLENTY, queue_size=jobs) as machines:
            report.add(**_jobs(machines, workers, photo, jobs))
        with Machines(folder / f"local{workers}", 1, **_PLENTY, queue_size=jobs) as machines:
            report.add(**_local(machines, workers, photo, jobs))
    report.notes.append(
        f"{jobs} JPEGs of 2 megapixels, uploaded before the first worker starts. Milliseconds of CPU for "
        "each job in the replica, the worker process, the NATS server and the process that decodes. Neither "
        "S3 nor the use of idle processes is counted."
    )
    report.show(None)
    report = Report("bench.cluster scale: refusals")
    with Machines(folder / "refusals", 1, **EMPTY) as machines:
        report.add(**_refusals(machines))
    report.show(None)
    report = Report("bench.cluster scale: queue full when an upload was complete")
    with Machines(folder / "race", 1, **_PLENTY, queue_size=_QUEUE) as machines:
        report.add(**_race(machines))
    report.show(None)


def _upload(services: Sequence[Service], photo: bytes, jobs: int) -> None:
    def one(number: int) -> None:
        answer = services[number % len(services)].upload(photo)
        if answer.status_code != 202:
            raise SystemExit(f"an upload was answered {answer.status_code}: {answer.text}")

    with ThreadPoolExecutor(_UPLOADERS) as threads:
        list(threads.map(one, range(jobs)))


def _done(services: Sequence[Service]) -> int:
    return sum(int(service.stats()["jobs"]["done"]) for service in services)


def _jobs(machines: Machines, workers: int, photo: bytes, jobs: int) -> dict[str, float | str]:
    replica, nats_pid = machines.serve(), machines.nats_servers[0].pid
    serving = _CpuTime(replica.pid, nats_pid)
    _upload([replica], photo, jobs)
    worker_processes = [machines.work() for _ in range(workers)]
    working = _CpuTime(*(worker.process.pid for worker in worker_processes))
    first = until(lambda: _done([replica]), "the first job", _JOBS_TIMEOUT_S)
    started = time.monotonic()
    until(lambda: _slowly(lambda: _done([replica]) >= jobs), "the last job", _JOBS_TIMEOUT_S)
    seconds = time.monotonic() - started
    decoding = sum(
        cpu_s(child, reaped=True) for worker in worker_processes for child in children(worker.process.pid)
    )
    (replica_s, nats_s), own = serving.used(), sum(working.used())
    used = {"replica": replica_s, "worker": own, "nats": nats_s, "decoding": decoding}
    rate = (jobs - first) / seconds
    return {"of": f"{workers} workers", "jobs_per_s": rate} | _per_job(used, jobs)


def _local(machines: Machines, workers: int, photo: bytes, jobs: int) -> dict[str, float | str]:
    """Measure one machine with the same store: the difference is the cost of the engine."""
    service = machines.serve(engine_url="local:", workers=workers)
    child = children(service.pid)
    serving = _CpuTime(service.pid)
    _upload([service], photo, jobs)
    until(lambda: _slowly(lambda: _done([service]) >= jobs), "the last job", _JOBS_TIMEOUT_S)
    decoding = sum(cpu_s(pid, reaped=True) for pid in child)
    used = {"replica": serving.used()[0], "decoding": decoding}
    return {"of": f"{workers} in local:"} | _per_job(used, jobs)


def _per_job(used: dict[str, float], jobs: int) -> dict[str, float | str]:
    return {f"{name}_ms": 1000 * seconds / jobs for name, seconds in used.items()}


def _slowly(condition: Callable[[], bool]) -> bool:
    """Evaluate a condition once a second: asking more often would change what is measured."""
    time.sleep(1)
    return condition()


class _CpuTime:
    """CPU seconds that processes use from now on, without what they use while idle."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._began = time.monotonic()
        self._before = [cpu_s(pid) for pid in pids]

    def used(self) -> list[float]:
        """CPU seconds of each process. Call it when they are idle."""
        seconds, now = time.monotonic() - self._began, [cpu_s(pid) for pid in self._pids]
        time.sleep(_IDLE_S)
        idle = [(cpu_s(pid) - at) / _IDLE_S for pid, at in zip(self._pids, now, strict=True)]
        return [a - b - i * seconds for a, b, i in zip(now, self._before, idle, strict=True)]


def _refusals(machines: Machines) -> dict[str, float | str]:
    replica = machines.serve()
    sample(replica.port)
    nats_s = cpu_s(machines.nats_servers[0].pid)
    micros = refusal_us(Serving(replica.pid, replica.port), 0, _REQUESTS)
    nats_s = cpu_s(machines.nats_servers[0].pid) - nats_s
    return {
        "of": f"429 at {HOST}",
        "us": micros,
        "per_s_and_core": 1e6 / micros,
        "nats_us": 1e6 * nats_s / _REQUESTS,
    }


def _race(machines: Machines) -> dict[str, float | str]:
    """Upload from many more clients at once than the queue has places, at two replicas."""
    replicas = [machines.serve(), machines.serve()]
    for _ in range(2):
        machines.work()
    end = time.monotonic() + _RACE_S
    answers: list[int] = []

    def race(number: int) -> None:
        service = replicas[number % 2]
        with service.client() as client:
            while time.monotonic() < end:
                with suppress(OSError):
                    fields = {"content-type": "image/jpeg"}
                    answers.append(client.post("/v1/images", content=SMALL, headers=fields).status_code)

    with ThreadPoolExecutor(_RACERS) as threads:
        list(threads.map(race, range(_RACERS)))
    taken = answers.count(202)
    found = [re.findall(r"so_far=(\d+)", service.errors()) for service in replicas]
    found_full = sum(int(numbers[-1]) for numbers in found if numbers)
    return {
        "of": "2 replicas",
        "asked": len(answers),
        "accepted": taken,
        "waited": found_full,
        "share": found_full / taken,
    }
