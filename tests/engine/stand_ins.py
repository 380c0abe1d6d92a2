"""A store and workers without disk and processes, so that a dispatcher runs on a loop that never waits."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.backpressure.brownout import Brownout, DeferredQueue
from app.backpressure.circuit_breaker import CircuitBreaker
from app.backpressure.drain_rate import DrainRate
from app.backpressure.upload_queue import UploadQueue
from app.engine.base import CircuitBreakers
from app.engine.dispatcher import Dispatcher
from app.engine.job_handle import JobHandle
from app.engine.job_plan import JobDefaults
from app.engine.outcomes import OutcomeRecorder
from app.engine.work_queue import WorkQueue
from app.engine.worker_pool import WorkerSnapshot
from app.engine.worker_process import WorkerProcessFailed
from app.job import Job, MadeVariant, new_id
from app.runtime.metrics import Histograms
from app.webhooks.outbox import Outbox
from workers.messages import Done, Failed, Made, Source, Task
from workers.variants import parse_variants

JOB_DEFAULTS = JobDefaults(parse_variants("thumb=96"), 10**6, 30.0, 2**30, truncated=False, blurhash=False)

Answer = Done | Failed | Exception


class Failures:
    """What the next calls of something raise, in order; later ones succeed."""

    def __init__(self) -> None:
        self._next: deque[Exception] = deque()

    def add(self, *errors: Exception) -> None:
        """Let the next calls raise these."""
        self._next.extend(errors)

    def strike(self) -> None:
        """Raise what is due."""
        if self._next:
            raise self._next.popleft()


class MemoryStore:
    """A store as far as a dispatcher needs one; each call can be made to fail."""

    def __init__(self) -> None:
        self.records: dict[str, Job] = {}
        self.workspaces = 0
        self.state: bytes | None = None
        self.on_fetch, self.on_save, self.on_delete = Failures(), Failures(), Failures()

    async def load_state(self) -> bytes | None:
        return self.state

    async def save_state(self, data: bytes) -> None:
        self.state = data

    async def pending(self, except_for: Container[str] = ()) -> AsyncIterator[Job]:  # noqa: ARG002
        for job in list(self.records.values()):
            if not job.is_final:
                yield replace(job)

    async def workspace(self, job_id: str) -> Path:
        self.workspaces += 1
        return Path("/nowhere") / job_id

    async def drop_workspace(self, _: Path) -> None:
        self.workspaces -= 1

    async def fetch(self, _: Job, folder: Path) -> Path:
        self.on_fetch.strike()
        return folder / "source"

    async def take_variants(self, _: Job, __: Path, made: tuple[Made, ...]) -> dict[str, MadeVariant]:
        return {
            each.name: MadeVariant(each.file, each.width, each.height, 1000, each.format, "0" * 64)
            for each in made
        }

    async def save(self, job: Job) -> None:
        self.on_save.strike()
        self.records[job.id] = replace(job)

    async def delete(self, job_id: str) -> None:
        self.on_delete.strike()
        self.records.pop(job_id, None)


class StandInWorker:
    """A worker that answers at once, as it is told to or with all that it was asked for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_alive = True
        self.restarts = 0
        self.tasks: list[Task] = []
        self.answers: deque[Answer] = deque()
        self.on_restart = Failures()

    async def run(self, task: Task) -> Done | Failed:
        self.tasks.append(task)
        await asyncio.sleep(0)
        answer = self.answers.popleft() if self.answers else done(task)
        if isinstance(answer, Exception):
            self.is_alive = not isinstance(answer, WorkerProcessFailed)
            raise answer
        return replace(answer, id=task.id)

    async def restart(self) -> None:
        self.on_restart.strike()
        self.restarts += 1
        self.is_alive = True

    def cancel(self, job_id: str) -> None:
        raise NotImplementedError


class StandInPool:
    """A pool of such workers."""

    busy = 0
    sandbox: Mapping[str, str] = {}

    def __init__(self, size: int) -> None:
        self.workers = [StandInWorker(number) for number in range(size)]

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def snapshot(self) -> list[WorkerSnapshot]:
        return []


def done(task: Task) -> Done:
    """All variants that a task asks for."""
    names = [spec.partition("=")[0] for spec in task.variants]
    made = tuple(Made(name, f"{name}.jpg", "jpeg", 96, 72) for name in names)
    return Done(task.id, Source("jpeg", 4000, 3000), made)


class Setting:
    """A dispatcher with a store and workers that stand in; `freed` are the jobs whose workers were free."""

    def __init__(self, clock: Callable[[], float], *, workers: int = 1) -> None:
        self.store = MemoryStore()
        self.pool = StandInPool(workers)
        self.freed: list[JobHandle] = []
        self.breakers = CircuitBreakers(
            CircuitBreaker("workers", clock=clock), CircuitBreaker("store", clock=clock)
        )
        self.upload_queue: UploadQueue[JobHandle] = UploadQueue(20, 20, 20, DrainRate(workers, 20))
        store: Any = self.store
        pool: Any = self.pool
        self.dispatcher = Dispatcher(
            WorkQueue(self.upload_queue, Brownout(0.75, 0.25, DeferredQueue(10))),
            pool,
            OutcomeRecorder(store, JOB_DEFAULTS, Outbox()),
            Histograms(),
            self.breakers,
            self.freed.append,
        )

    @property
    def worker(self) -> StandInWorker:
        """The first worker."""
        return self.pool.workers[0]

    def upload(self, *wanted: str) -> JobHandle:
        """A job of a new upload."""
        job = Job(new_id(), 1000.0, 10, wanted)
        self.store.records[job.id] = replace(job)
        self.upload_queue.count_client("somebody")
        return self.dispatcher.accept(job, self.upload_queue.reserve("somebody"))
