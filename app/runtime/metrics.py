"""Prometheus metrics: histograms that are filled as things happen, all else read from snapshots."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Histograms:
    """How long things take, in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, buckets=_SECONDS, registry=self.registry)

        self.wait = histogram("spillway_wait_seconds", "From the acceptance of a job to its start.")
        self.service = histogram("spillway_service_seconds", "A worker's time on one job.")
        self.request = histogram(
            "spillway_request_duration_seconds", "Requests not refused by their head alone."
        )


class _SnapshotCollector(Collector):
    """Turns the stats snapshot into metrics at each scrape; no label grows with clients."""

    def __init__(self, snapshot: Callable[[], dict[str, Any]]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        stats = self._snapshot()
        yield _family("spillway_jobs", "Jobs by what became of them.", "outcome", stats["jobs"])
        yield _family("spillway_refusals", "Refusals by guard or status.", "guard", stats["refusals"])
        backlog = stats["backlog"]
        slots = GaugeMetricFamily("spillway_backlog_slots", "Places of the backlog.", labels=["state"])
        for state in ("capacity", "receiving", "waiting"):
            slots.add_metric([state], backlog[state])
        yield slots
        yield _gauge("spillway_turns", "Refused uploads told when to return.", backlog["outstanding"])
        yield _gauge("spillway_parked", "Uploads whose turn it is, waiting unread.", backlog["parked"])
        yield _gauge("spillway_drain_per_second", "Jobs that leave a busy queue.", backlog["drain_per_s"])
        wait_s = backlog["estimated_wait_ms"] / 1000
        yield _gauge("spillway_estimated_wait_seconds", "Wait of a job that came now.", wait_s)
        yield _gauge("spillway_limiter_clients", "Buckets in the table.", stats["limiter"]["clients"])
        yield _gauge("spillway_limiter_capacity", "Bound of the table.", stats["limiter"]["capacity"])
        workers = GaugeMetricFamily("spillway_workers", "Workers by state.", labels=["state"])
        for state in ("starting", "idle", "busy", "stopped"):
            workers.add_metric([state], sum(worker["state"] == state for worker in stats["workers"]))
        yield workers
        restarts = sum(worker["restarts"] for worker in stats["workers"])
        yield CounterMetricFamily("spillway_worker_restarts", "Children replaced.", value=restarts)
        brownout = stats["brownout"]
        yield _gauge("spillway_brownout_active", "Whether variants are put off.", brownout["active"])
        yield CounterMetricFamily("spillway_brownouts", "Brownouts begun.", value=brownout["begun"])
        yield _gauge("spillway_deferred_jobs", "Jobs with variants put off.", brownout["deferred"])
        yield _gauge("spillway_deferred_capacity", "Bound of the deferred lane.", brownout["capacity"])
        breakers = GaugeMetricFamily("spillway_breaker_open", "Whether calls are refused.", labels=["name"])
        for name, state in stats["breakers"].items():
            breakers.add_metric([name], state == "open")
        yield breakers
        yield _gauge("spillway_memory_bytes", "Resident memory, workers included.", stats["memory_bytes"])
        yield _gauge("spillway_store_bytes", "Bytes kept in the store.", stats["store_bytes"])
        yield _gauge("spillway_uptime_seconds", "Seconds since the start.", stats["uptime_s"])


def _family(name: str, text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


class Metrics:
    """All metrics as Prometheus text."""

    def __init__(self, histograms: Histograms, snapshot: Callable[[], dict[str, Any]]) -> None:
        self._registry = histograms.registry
        self._registry.register(_SnapshotCollector(snapshot))

    def text(self) -> bytes:
        """The exposition, format version 0.0.4."""
        return generate_latest(self._registry)
