"""The last minute of the service, as the charts of the page show it."""

from app.api.history import LENGTH, History
from app.api.service_stats import ServiceStats
from app.backpressure.brownout import BrownoutSnapshot
from app.backpressure.rate_limiter import LimiterSnapshot
from app.backpressure.reservations import ReservationsSnapshot
from app.backpressure.upload_queue import UploadQueueSnapshot
from app.engine.interface import EngineSnapshot, EngineState, JobCounters
from app.engine.preview_worker import PreviewWorkerSnapshot
from app.server.problems import KINDS
from app.storage.interface import StoreSnapshot
from app.uploads.degraded import DegradedSnapshot
from app.uploads.idempotency import IdempotencySnapshot


def stats(second: int) -> ServiceStats:
    """A state in which each second one more upload is accepted than in the one before."""
    engine = EngineSnapshot(
        JobCounters(accepted=second * (second + 1) // 2),
        LimiterSnapshot(0, 100, 0),
        UploadQueueSnapshot(10, 20, 0, 0, 0, 1.0, 10 * second),
        ReservationsSnapshot(0, 0, 0, 100, 0, 1.0, []),
        [],
        {},
        BrownoutSnapshot(active=False, begun=0, deferred=0, capacity=0),
        [],
        EngineState.READY,
        0.0,
    )
    return ServiceStats(
        uptime_s=second,
        engine=engine,
        refusals={kind.guard: second for kind in KINDS.values() if kind.guard is not None},
        degraded=DegradedSnapshot(3 * second, 0, PreviewWorkerSnapshot(True, 0, 0)),
        idempotency=IdempotencySnapshot(0, 0, 8),
        memory_bytes=second,
        store=StoreSnapshot(0, 0, 1),
        demo=None,
    )


def test_the_minute_counts_what_happened_in_each_second() -> None:
    """The first second only sets the mark; statuses are the sums of their guards; a minute is kept."""
    minute = History()
    minute.add(stats(100))
    assert minute.snapshot()["accepted"] == [0]
    for second in range(101, 200):
        minute.add(stats(second))
    kept = minute.snapshot()
    assert {len(column) for column in kept.values()} == {LENGTH}
    assert kept["accepted"] == list(range(140, 200))
    assert kept["degraded"] == [3] * 60
    assert (kept["429"][-1], kept["503"][-1]) == (2, 6)
    assert (kept["wait_ms"][-1], kept["memory_bytes"][-1]) == (1990, 199)
