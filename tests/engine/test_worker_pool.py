"""Workers as the dispatcher sees them: what one reports, and when it counts as busy."""

import asyncio
from typing import Any

import pytest

from app.backpressure.circuit_breaker import CircuitBreaker
from app.engine.worker_pool import WorkerPool, WorkerState
from app.engine.worker_process import WorkerProcess, WorkerProcessFailed
from tests.engine.stand_ins import done
from workers.frames import LENGTH_BYTES
from workers.messages import Task

pytestmark = pytest.mark.anyio

TASK = Task("0" * 32, "/s", "/f", ("thumb=96",), 10**6, 30.0, 2**30)


class Child:
    """A process that answers with these messages, then never again, or dies."""

    def __init__(self, *answers: Any) -> None:
        self.pid = 1
        self.sandbox = {"seccomp": "on"}
        self.is_alive = True
        self._answers = list(answers)

    async def write(self, frame: bytes) -> None:
        pass

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if not self._answers:
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bytes(answer.to_frame()[LENGTH_BYTES:])

    async def end(self) -> None:
        self.is_alive = False


async def started(monkeypatch: pytest.MonkeyPatch, child: Child) -> WorkerPool:
    """A pool of one worker with this child."""

    async def start(_: str) -> Child:
        return child

    monkeypatch.setattr(WorkerProcess, "start", start)
    loop = asyncio.get_running_loop()
    pool = WorkerPool(1, CircuitBreaker("workers", clock=loop.time))
    await pool.start()
    return pool


async def test_a_worker_is_idle_before_and_after_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is busy meanwhile."""
    pool = await started(monkeypatch, Child(done(TASK)))
    assert (pool.busy, pool.snapshot()[0].state) == (0, WorkerState.IDLE)
    running = asyncio.create_task(pool.workers[0].run(TASK))
    await asyncio.sleep(0)
    assert pool.busy == 1
    assert await running == done(TASK)
    assert (pool.busy, pool.snapshot()[0].jobs) == (0, 1)


@pytest.mark.parametrize(
    "answers",
    [
        [WorkerProcessFailed("gone")],
        [],
        [done(Task("1" * 32, *("/s", "/f"), ("thumb=96",), 10**6, 30.0, 2**30))],
        [TASK],
    ],
    ids=["dies", "hangs", "answers for another job", "sends what only the parent sends"],
)
async def test_a_worker_whose_child_fails_is_busy_no_more(
    monkeypatch: pytest.MonkeyPatch, answers: list[Any]
) -> None:
    """Its child is ended, and it waits to be restarted: a drain has nothing to wait for."""
    child = Child(*answers)
    pool = await started(monkeypatch, child)
    with pytest.raises(WorkerProcessFailed):
        await pool.workers[0].run(TASK)
    assert (pool.busy, pool.snapshot()[0].state) == (0, WorkerState.STARTING)
    assert not child.is_alive
    assert not pool.workers[0].is_alive


async def test_a_worker_that_is_stopped_on_a_job_stays_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the job is told that the process has failed."""
    pool = await started(monkeypatch, Child())
    running = asyncio.create_task(pool.workers[0].run(TASK))
    await asyncio.sleep(0)
    await pool.stop()
    running.cancel()
    await asyncio.wait([running])
    assert pool.snapshot()[0].state == WorkerState.STOPPED
