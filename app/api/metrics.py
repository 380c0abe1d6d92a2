"""The metrics of the service, read from its statistics at each scrape."""

from collections.abc import Callable, Iterator

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from app.api.service_stats import ServiceStats, all_breakers
from app.backpressure.brownout import BrownoutSnapshot
from app.backpressure.circuit_breaker import BreakerState
from app.engine.interface import EngineSnapshot
from app.engine.worker_pool import WorkerSnapshot, WorkerState
from app.runtime.metrics import Histograms, counter, gauge, labelled_counter, labelled_gauge
from app.webhooks.outbox import WebhookSnapshot


class Metrics:
    """All metrics as text."""

    def __init__(self, histograms: Histograms, snapshot: Callable[[], ServiceStats]) -> None:
        """`snapshot` gives the state of the service now."""
        self._registry = histograms.registry
        self._registry.register(_SnapshotCollector(snapshot))

    def text(self) -> bytes:
        """The metrics in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)


class _SnapshotCollector(Collector):
    """Turns a snapshot into metrics at each scrape. No label has a value for each client."""

    def __init__(self, snapshot: Callable[[], ServiceStats]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that the registry does not collect in order to learn the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        stats = self._snapshot()
        engine = stats.engine
        yield labelled_counter("spillway_jobs", "Jobs by outcome.", "outcome", stats.jobs)
        accepted_bytes = engine.jobs.accepted_bytes
        yield counter("spillway_accepted_bytes", "Bytes of accepted uploads.", accepted_bytes)
        yield labelled_counter("spillway_refusals", "Refusals by guard or status.", "guard", stats.refusals)
        yield from _backlog(engine)
        yield gauge("spillway_limiter_clients", "Buckets in the table.", engine.limiter.clients)
        yield gauge("spillway_limiter_capacity", "Bound of the table.", engine.limiter.capacity)
        yield from _workers(engine.workers)
        yield from _brownout(engine.brownout)
        is_open = {breaker.name: breaker.state is BreakerState.OPEN for breaker in all_breakers(engine)}
        yield labelled_gauge("spillway_breaker_open", "Whether calls are refused.", "name", is_open)
        yield from _webhooks(engine.webhook)
        yield gauge("spillway_memory_bytes", "Resident memory, workers included.", stats.memory_bytes)
        yield gauge("spillway_store_bytes", "Bytes kept in the store.", stats.store.used_bytes)
        yield gauge("spillway_store_capacity_bytes", "Bound of the store.", stats.store.max_bytes)
        yield gauge("spillway_uptime_seconds", "Seconds since the start.", stats.uptime_s)


def _backlog(engine: EngineSnapshot) -> Iterator[Metric]:
    queue, reservations = engine.upload_queue, engine.reservations
    slots = {
        "capacity": queue.capacity,
        "receiving": queue.receiving,
        "waiting": queue.waiting,
        "overflow": queue.overflow,
    }
    yield labelled_gauge("spillway_backlog_slots", "Receiving slots, queue and overflow.", "state", slots)
    yield gauge("spillway_turns", "Reservations that are outstanding.", reservations.outstanding)
    yield gauge("spillway_parked", "Uploads in the waiting room.", reservations.waiting)
    yield gauge("spillway_drain_per_second", "Jobs that leave a busy queue.", queue.drain_per_s)
    wait_s = queue.estimated_wait_ms / 1000
    yield gauge("spillway_estimated_wait_seconds", "Wait of a job that came now.", wait_s)


def _workers(workers: list[WorkerSnapshot]) -> Iterator[Metric]:
    counts: dict[str, float] = dict.fromkeys(WorkerState, 0)
    for worker in workers:
        counts[worker.state] += 1
    yield labelled_gauge("spillway_workers", "Workers by state.", "state", counts)
    restarts = sum(worker.restarts for worker in workers)
    yield counter("spillway_worker_restarts", "Worker processes replaced.", restarts)


def _brownout(brownout: BrownoutSnapshot) -> Iterator[Metric]:
    yield gauge("spillway_brownout_active", "Whether variants are deferred.", brownout.active)
    yield counter("spillway_brownouts", "Brownouts begun.", brownout.begun)
    yield gauge("spillway_deferred_jobs", "Jobs with deferred variants.", brownout.deferred)
    yield gauge("spillway_deferred_capacity", "Bound of the deferred queue.", brownout.capacity)


def _webhooks(webhook: WebhookSnapshot | None) -> Iterator[Metric]:
    """Zeros where there are no webhooks, so that the metrics are always the same."""
    yield gauge("spillway_webhooks_pending", "Events not delivered yet.", webhook.pending if webhook else 0)
    age_s = webhook.oldest_age_s if webhook else 0.0
    yield gauge("spillway_webhook_oldest_seconds", "Age of the oldest of them.", age_s)
    outcomes = {
        "delivered": webhook.delivered if webhook else 0,
        "given_up": webhook.given_up if webhook else 0,
        "dropped": webhook.dropped if webhook else 0,
    }
    yield labelled_counter("spillway_webhooks", "Events by outcome.", "outcome", outcomes)
    failed = webhook.failed_tries if webhook else 0
    yield counter("spillway_webhook_failed_tries", "Requests without success.", failed)
