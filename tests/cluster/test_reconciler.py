"""The reconciler repairs a queue that differs from the store."""

from pathlib import Path

import pytest

from app.backpressure.drain_rate import DrainRate
from app.cluster.jetstream import JobStream
from app.cluster.job_registry import JobRegistry
from app.cluster.reconciler import Reconciler
from app.cluster.upload_queue import SharedUploadQueue
from app.runtime.metrics import Histograms
from app.storage.local.store import LocalStore
from tests.cluster.conftest import Connect
from tests.cluster.jobs import publish
from tests.storage.jobs import DAY, accepted, finished

pytestmark = pytest.mark.anyio


async def test_an_ended_job_does_not_stay_in_the_queue(connect: Connect, tmp_path: Path) -> None:
    """A killed server may bring back acknowledged messages, which would hold their places for ever."""
    connection = await connect()
    store = LocalStore(tmp_path / "data", 10**9, DAY)
    await store.open()
    await store.survey()
    try:
        ended, waiting = await finished(store), await accepted(store)
        for job in (ended, waiting):
            assert await publish(connection, job.id)
        stream = JobStream(connection)
        await Reconciler(registry(), store, stream).withdraw_ended()
        assert await stream.job_ids() == [waiting.id]
    finally:
        await store.close()


def registry() -> JobRegistry:
    """A registry that knows no job."""
    upload_queue = SharedUploadQueue(20, 5, 5, DrainRate(1, 5), max_wait_s=60, receiving_elsewhere=lambda: 0)
    return JobRegistry(upload_queue, Histograms())
