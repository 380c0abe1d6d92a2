"""The metrics of the service, read from its statistics at each scrape."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from app.engine.worker_pool import WorkerState
from app.runtime.metrics import Histograms, counter, gauge, labelled_counter, labelled_gauge


class Metrics:
    """All metrics as text."""

    def __init__(self, histograms: Histograms, snapshot: Callable[[], dict[str, Any]]) -> None:
        """`snapshot` gives the statistics of `/v1/stats`."""
        self._registry = histograms.registry
        self._registry.register(_SnapshotCollector(snapshot))

    def text(self) -> bytes:
        """The metrics in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)


class _SnapshotCollector(Collector):
    """Turns a snapshot into metrics at each scrape. No label has a value for each client."""

    def __init__(self, snapshot: Callable[[], dict[str, Any]]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that the registry does not collect in order to learn the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        stats = self._snapshot()
        yield labelled_counter("spillway_jobs", "Jobs by what became of them.", "outcome", stats["jobs"])
        refusals = stats["refusals"]
        yield labelled_counter("spillway_refusals", "Refusals by guard or status.", "guard", refusals)
        yield from _backlog(stats["backlog"])
        yield gauge("spillway_limiter_clients", "Buckets in the table.", stats["limiter"]["clients"])
        yield gauge("spillway_limiter_capacity", "Bound of the table.", stats["limiter"]["capacity"])
        yield from _workers(stats["workers"])
        yield from _brownout(stats["brownout"])
        is_open = {name: state == "open" for name, state in stats["breakers"].items()}
        yield labelled_gauge("spillway_breaker_open", "Whether calls are refused.", "name", is_open)
        yield gauge("spillway_memory_bytes", "Resident memory, workers included.", stats["memory_bytes"])
        yield gauge("spillway_store_bytes", "Bytes kept in the store.", stats["store_bytes"])
        yield gauge("spillway_uptime_seconds", "Seconds since the start.", stats["uptime_s"])


def _backlog(backlog: dict[str, Any]) -> Iterator[Metric]:
    slots = {state: backlog[state] for state in ("capacity", "receiving", "waiting")}
    yield labelled_gauge("spillway_backlog_slots", "Places of the queue.", "state", slots)
    yield gauge("spillway_turns", "Refused uploads told when to return.", backlog["outstanding"])
    yield gauge("spillway_parked", "Uploads in the waiting room.", backlog["parked"])
    yield gauge("spillway_drain_per_second", "Jobs that leave a busy queue.", backlog["drain_per_s"])
    wait_s = backlog["estimated_wait_ms"] / 1000
    yield gauge("spillway_estimated_wait_seconds", "Wait of a job that came now.", wait_s)


def _workers(workers: list[dict[str, Any]]) -> Iterator[Metric]:
    counts: dict[str, float] = dict.fromkeys(WorkerState, 0)
    for worker in workers:
        counts[worker["state"]] += 1
    yield labelled_gauge("spillway_workers", "Workers by state.", "state", counts)
    restarts = sum(worker["restarts"] for worker in workers)
    yield counter("spillway_worker_restarts", "Worker processes replaced.", restarts)


def _brownout(brownout: dict[str, Any]) -> Iterator[Metric]:
    yield gauge("spillway_brownout_active", "Whether variants are deferred.", brownout["active"])
    yield counter("spillway_brownouts", "Brownouts begun.", brownout["begun"])
    yield gauge("spillway_deferred_jobs", "Jobs with deferred variants.", brownout["deferred"])
    yield gauge("spillway_deferred_capacity", "Bound of the deferred queue.", brownout["capacity"])
