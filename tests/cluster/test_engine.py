"""What a replica answers when there is no room for an upload, and what it knows of jobs."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from app.backpressure.reservation_table import Requester
from app.backpressure.waiting_room import QueueFull
from app.cluster import job_delivery
from app.cluster.connection import UNAVAILABLE
from app.cluster.engine import ClusterEngine
from app.cluster.factory import ProcessParts, make_consumer, make_outbox
from app.cluster.job_delivery import cancel_subject
from app.cluster.job_status import JobStatusStore
from app.cluster.leases import Leases
from app.job import Job, JobStatus, new_id
from app.settings import Settings
from tests.cluster.conftest import Connect
from tests.cluster.jobs import publish
from tests.cluster.servers import NatsServer

pytestmark = pytest.mark.anyio


async def test_slots_that_are_all_taken_are_not_called_a_full_queue(
    engine: ClusterEngine, connect: Connect
) -> None:
    """Another replica holds all receiving slots, and nothing waits in the queue."""
    others = Leases(await connect())
    await engine.start()
    while await others.take() is not None:
        pass
    await engine._leases.count()
    with pytest.raises(QueueFull, match=r"^all receiving slots are taken; "):
        await engine.reserve(Requester("key", "client", "net"), 0, lambda _: None)


def job() -> Job:
    """A new job."""
    return Job(new_id(), time.time(), 1000, ("thumb=96",))


async def test_a_record_read_before_the_job_s_end_was_heard_is_not_believed(engine: ClusterEngine) -> None:
    """Whether this replica knew of the job before or not."""
    unknown, known = job(), job()
    engine._registry.update(known)
    for each in (unknown, known):
        engine._registry.update(replace(each, status=JobStatus.DONE))
        assert engine.adopt(each) is None
        assert engine.find(each.id) is None
        again = replace(each, created_at=each.created_at + 1)  # deleted, and uploaded under the same key
        assert engine.adopt(again) is not None


async def test_a_record_that_is_older_than_what_is_known_changes_nothing(engine: ClusterEngine) -> None:
    """A job that was begun between the read of its record and now does not wait again."""
    queued = job()
    engine._registry.update(replace(queued, status=JobStatus.PROCESSING))
    handle = engine.adopt(queued)
    assert handle is not None
    assert handle.job.status == JobStatus.PROCESSING


async def test_a_deletion_is_told_to_other_replicas_though_its_worker_does_not_answer(
    engine: ClusterEngine, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is connected, and hangs."""
    monkeypatch.setattr(job_delivery, "_CANCEL_TIMEOUT_S", 0.1)
    connection = await connect()
    status = JobStatusStore(connection)
    await status.prepare()
    await engine.start()
    begun = replace(job(), status=JobStatus.PROCESSING)
    await status.announce(begun)
    engine._registry.update(begun)
    await connection.client.subscribe(cancel_subject(begun.id))
    await connection.client.flush()
    await engine.cancel(begun.id)
    told = (await status.read(begun.id)).job
    assert told is not None
    assert told.status == JobStatus.CANCELLED


async def test_a_deletion_while_nats_is_away_is_told_afterwards(
    engine: ClusterEngine, connect: Connect, nats: NatsServer
) -> None:
    """No other replica takes the job for unfinished for long."""
    status = JobStatusStore(await connect())
    await status.prepare()
    await engine.start()
    begun = replace(job(), status=JobStatus.PROCESSING)
    await status.announce(begun)
    engine._registry.update(begun)
    nats.suspend()
    await engine.cancel(begun.id)
    nats.resume()
    await cancelled(status, begun.id)


async def test_a_worker_tells_that_a_job_is_gone(
    settings: Settings, parts: ProcessParts, connect: Connect
) -> None:
    """It was deleted where nobody could tell that it had been begun."""
    connection = await connect()
    status = JobStatusStore(connection)
    await status.prepare()
    begun = replace(job(), status=JobStatus.PROCESSING)
    await status.announce(begun)
    assert await publish(connection, begun.id)
    consumer = make_consumer(settings, connection, status, make_outbox(settings, connection, parts), parts)
    await consumer.start()
    try:
        await cancelled(status, begun.id)
    finally:
        await consumer.stop()


async def cancelled(status: JobStatusStore, job_id: str) -> None:
    """Wait until the last status of a job is that it was cancelled."""
    async with asyncio.timeout(20):
        while True:
            with suppress(*UNAVAILABLE):
                last = (await status.read(job_id)).job
                if last is not None and last.status == JobStatus.CANCELLED:
                    return
            await asyncio.sleep(0.05)
