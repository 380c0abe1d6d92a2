"""The outbox in JetStream, on a real server: what is kept, how often, and when it is sent."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.backpressure.circuit_breaker import CircuitBreaker
from app.cluster.connection import NatsConnection
from app.cluster.event_stream import EventStream
from app.cluster.jetstream import EVENTS
from app.job import Job, JobStatus, new_id
from app.storage.interface import EventNotKept
from app.webhooks.delivery import Answer, Delivery
from app.webhooks.events import Event, EventType, removal
from tests.cluster.conftest import Connect
from tests.cluster.servers import NatsServer
from tests.webhooks.stand_ins import MemoryStore, StandInReceiver

pytestmark = pytest.mark.anyio


class Setting:
    """The outbox of a replica, of which the store and the receiver are in memory."""

    def __init__(self, connection: NatsConnection) -> None:
        self.connection = connection
        self.store, self.receiver = MemoryStore(), StandInReceiver()
        self.breaker = CircuitBreaker("webhook", open_s=0.05)
        store: Any = self.store
        delivery = Delivery(store, self.receiver, self.breaker, lambda job: {"id": job.id})
        self.outbox = EventStream(connection, EventType, delivery)

    def job(self, status: JobStatus = JobStatus.DONE) -> Job:
        """A job in the store."""
        job = Job(new_id(), time.time(), 10, (), status, finished_at=time.time())
        self.store.records[job.id] = job
        return job

    async def waiting(self) -> int:
        """How many events are in the stream."""
        async with self.connection.request(5) as js:
            return (await js.stream_info(EVENTS)).state.messages

    def posted(self) -> list[str]:
        """The ids of the events that were posted."""
        return [event_id for _, event_id in self.receiver.posted]


async def eventually(condition: Callable[[], Any], what: str) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - NATS sets no event
            await asyncio.sleep(0.01)
    assert condition(), what


def done(job: Job) -> Event:
    """The event that a job is done."""
    return Event(EventType.DONE, job.id, job.created_at, time.time())


async def test_an_event_is_kept_once_and_sent_when_its_record_is_there(connect: Connect) -> None:
    """A worker publishes it before it writes the record, perhaps twice; a job that is gone ends it."""
    setting = Setting(await connect())
    worker = EventStream(await connect(), EventType)
    job, gone = setting.job(JobStatus.PROCESSING), setting.job()
    del setting.store.records[gone.id]
    for each in (job, job, gone):
        async with worker.announcing([done(each)]):
            pass
    assert await setting.waiting() == 2
    await setting.outbox.start()
    await eventually(lambda: setting.outbox.snapshot().given_up == 1, "the end of the one that is gone")
    assert setting.posted() == []
    setting.store.records[job.id] = replace(job, status=JobStatus.DONE)
    async with asyncio.timeout(20):
        while await setting.waiting():  # noqa: ASYNC110 - NATS sets no event
            await asyncio.sleep(0.01)
    await setting.outbox.stop()
    assert setting.posted() == [done(job).id]
    assert worker.snapshot() is None


async def test_a_failed_try_goes_back_to_the_stream(connect: Connect) -> None:
    """It is sent again, by any replica; what an open breaker holds back counts as no try."""
    setting, other = Setting(await connect()), Setting(await connect())
    other.store, other.receiver = setting.store, setting.receiver
    setting.receiver.answers = [Answer(503, 1.0)]
    for _ in range(5):
        setting.breaker.record_failure(setting.breaker.acquire())
    async with setting.outbox.announcing([done(setting.job())]):
        pass
    await setting.outbox.start()
    await eventually(lambda: setting.outbox.snapshot().delivered, "the delivery")
    (first, _), (second, _) = setting.receiver.posted
    assert second - first >= 1
    snapshot = setting.outbox.snapshot()
    assert (snapshot.failed_tries, snapshot.breaker.opened) == (1, 2)
    await setting.outbox.stop()


async def test_a_removal_that_failed_may_be_announced_again(connect: Connect) -> None:
    """The first one is not true and ends; the second is not taken for a repeat of it."""
    setting = Setting(await connect())
    await setting.outbox.start()
    job = setting.job()
    with pytest.raises(OSError, match="down"):
        async with setting.outbox.announcing([removal(EventType.DELETED, job, time.time() - 100)]):
            raise OSError("down")
    await eventually(lambda: setting.outbox.snapshot().given_up == 1, "the end of the first")
    async with setting.outbox.announcing([removal(EventType.DELETED, job, time.time())]):
        del setting.store.records[job.id]
    await eventually(setting.posted, "the second")
    await setting.outbox.stop()


async def test_what_cannot_be_kept_does_not_happen(connect: Connect, nats: NatsServer) -> None:
    """While NATS is away; when the stream has all that it may, the event is dropped and counted instead."""
    setting = Setting(await connect())
    async with setting.connection.request(5) as js:
        config = (await js.stream_info(EVENTS)).config
        await js.update_stream(replace(config, max_msgs=2))
    for _ in range(3):
        async with setting.outbox.announcing([done(setting.job())]):
            pass
    assert await setting.waiting() == 2
    assert setting.outbox.snapshot().dropped == 1
    task = asyncio.create_task(setting.outbox._count())
    await eventually(lambda: setting.outbox.snapshot().pending == 2, "the count")
    assert setting.outbox.snapshot().oldest_age_s >= 0
    task.cancel()
    nats.suspend()
    with pytest.raises(EventNotKept):
        async with setting.outbox.announcing([done(setting.job())]):
            pytest.fail("it must not happen")
    nats.resume()


async def test_a_drain_ends_the_requests_under_way(connect: Connect) -> None:
    """What is cut off goes back to the stream at once, for another replica."""
    setting, other = Setting(await connect()), Setting(await connect())
    other.store.records = setting.store.records
    setting.receiver.takes_s = 60
    await setting.outbox.start()
    async with setting.outbox.announcing([done(setting.job())]):
        pass
    await eventually(setting.posted, "a request")
    await setting.outbox.drain(0.1)
    await setting.outbox.stop()
    await other.outbox.start()
    await eventually(other.posted, "the other replica's request")
    assert other.posted() == setting.posted()
    await other.outbox.stop()
