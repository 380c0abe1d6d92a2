"""Every background task of a replica and of a worker survives an unexpected exception, and logs it."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.cluster import reconciler
from app.cluster.connection import NatsConnection
from app.cluster.engine import ClusterEngine
from app.cluster.factory import ProcessParts, make_consumer, make_outbox
from app.cluster.heartbeats import Heartbeats
from app.cluster.job_status import JobStatusStore
from app.cluster.leases import LeasedSlot
from app.cluster.worker import _run_heartbeats
from app.job import Job, new_id
from app.runtime import tasks
from app.settings import Settings
from tests.cluster.conftest import Connect
from tests.storage.jobs import accepted

pytestmark = pytest.mark.anyio

DEADLINE_S = 20.0


class FailsOnce:
    """Replaces a method: its first call raises an exception that nobody expects, later ones work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        self._method: Callable[..., Any] = getattr(owner, name)
        self._failed = False
        self.worked = asyncio.Event()
        """Set when a later call has returned."""
        replacement = self._call_async if inspect.iscoroutinefunction(self._method) else self._call
        monkeypatch.setattr(owner, name, replacement)

    def _fail_first(self) -> None:
        if not self._failed:
            self._failed = True
            raise RuntimeError("unexpected")

    def _call(self, *arguments: Any) -> Any:
        self._fail_first()
        result = self._method(*arguments)
        self.worked.set()
        return result

    async def _call_async(self, *arguments: Any) -> Any:
        self._fail_first()
        result = await self._method(*arguments)
        self.worked.set()
        return result


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of tasks that are too long for a test."""
    monkeypatch.setattr(tasks, "RESTART_PAUSE_S", 0.01)
    monkeypatch.setattr(reconciler, "_INTERVAL_S", 0.01)


async def check_goes_on(method: FailsOnce, logs: list[Any], task: str) -> None:
    """Wait until a task works again, and look for the log line about its failure."""
    async with asyncio.timeout(DEADLINE_S):
        await method.worked.wait()
    assert [line["task"] for line in logs if line["event"] == "background task failed"] == [task]


@pytest.mark.parametrize(
    ("task", "part", "name"),
    [
        ("connection watch", lambda engine: engine.upload_queue, "observe"),
        ("heartbeats", lambda engine: engine._heartbeats, "recent"),
        ("reconciler", lambda engine: engine._reconciler, "withdraw_ended"),
    ],
)
async def test_a_periodic_task_of_a_replica_goes_on(
    engine: ClusterEngine,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    part: Callable[[ClusterEngine], object],
    name: str,
) -> None:
    """Its next period comes, and the exception is logged once."""
    with capture_logs() as logs:
        await engine.start()
        await check_goes_on(FailsOnce(monkeypatch, part(engine), name), logs, task)


async def test_the_status_watch_goes_on(engine: ClusterEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that cannot be taken over costs no later one."""
    update = FailsOnce(monkeypatch, engine._registry, "update")
    with capture_logs() as logs:
        await engine.start()
        for _ in range(2):
            await engine._jobs.status.announce(job())
        await check_goes_on(update, logs, "job status watch")


async def test_the_job_publisher_goes_on(engine: ClusterEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that cannot be sent gives up its lease and keeps no other job from the queue."""
    with capture_logs() as logs:
        await engine.start()
        send = FailsOnce(monkeypatch, engine._unqueued, "_send")
        slots = [await slot(engine) for _ in range(2)]
        for each in slots:
            engine.enqueue(each, job())
        await check_goes_on(send, logs, "job publisher")
    assert [each._lease for each in slots] == [None, None]
    assert len(await engine._jobs.stream.job_ids()) == 1


async def test_a_worker_goes_on_taking_jobs(
    connect: Connect, settings: Settings, parts: ProcessParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of the pull loop costs no job."""
    connection = await connect()
    job_status = JobStatusStore(connection)
    await job_status.prepare()
    consumer = make_consumer(
        settings, connection, job_status, make_outbox(settings, connection, parts), parts
    )
    pull = FailsOnce(monkeypatch, consumer, "_next")
    waiting = await accepted(parts.store, job=job())
    with capture_logs() as logs:
        await consumer.start()
        try:
            async with connection.request() as js:
                await js.publish(f"spillway.jobs.{waiting.id}")
            await check_goes_on(pull, logs, "job consumer")
            async with asyncio.timeout(DEADLINE_S):
                while not (stored := await parts.store.load(waiting.id)) or not stored.is_final:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        finally:
            await consumer.stop()


async def test_the_heartbeats_of_a_worker_go_on(
    connect: Connect, settings: Settings, parts: ProcessParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed heartbeat is followed by the next one."""
    connection: NatsConnection = await connect()
    heartbeats = Heartbeats(connection)
    consumer = make_consumer(
        settings, connection, JobStatusStore(connection), make_outbox(settings, connection, parts), parts
    )
    send = FailsOnce(monkeypatch, heartbeats, "send")
    with capture_logs() as logs:
        task = tasks.supervise(lambda: _run_heartbeats(connection, heartbeats, consumer), "heartbeats")
        await check_goes_on(send, logs, "heartbeats")
        await tasks.cancel_and_wait([task])


def job() -> Job:
    """A new job."""
    return Job(new_id(), time.time(), 1000, ("thumb=96",))


async def slot(engine: ClusterEngine) -> LeasedSlot:
    """A receiving slot with a lease."""
    engine.upload_queue.count_client("client")
    lease = await engine._leases.take()
    assert lease is not None
    return LeasedSlot(engine.upload_queue.reserve("client"), engine._leases, lease)
