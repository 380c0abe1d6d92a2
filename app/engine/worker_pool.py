"""The parent's half of the workers: a fixed number of warm children, each with one job at a time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreaker
from app.engine.worker_process import WorkerProcess, WorkerProcessFailed
from workers.messages import (
    Cancel,
    Done,
    Failed,
    ProtocolError,
    Ready,
    Started,
    Task,
)
from workers.parser import parse

log = structlog.get_logger(__name__)

_GRACE = 5.0
"""Seconds past a job's own deadline after which its child, who should have ended it, is killed too."""
_ALL_READY_WITHIN = 60.0


class PoolNotStarted(Exception):
    """Raised when the workers do not start with the service; its message is one clear line."""


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker: `state` is starting, idle, busy or stopped; `busy_ms` is all its time on jobs so far."""

    state: str
    busy_ms: int
    jobs: int
    restarts: int


class Worker:
    """One warm child process (`python -m workers`) and the pipe to it; started anew whenever it dies."""

    def __init__(
        self, number: int, breaker: CircuitBreaker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`breaker` is shared by all workers: it opens when children cannot be started."""
        self.number = number
        self._breaker = breaker
        self.state = "starting"
        self.sandbox: dict[str, str] = {}
        self.pid: int | None = None
        self._clock = clock
        self._process: WorkerProcess | None = None
        self._busy_s = 0.0
        self._busy_since: float | None = None
        self._jobs = 0
        self._restarts = 0

    async def start(self) -> None:
        """Start the child and wait until it says that it is ready, with its canary decoded.

        A start that fails is what counts for the breaker, which says when to try again. The death of a child
        does not count: it may be an image's doing, and no image shall close the service.
        """
        while True:
            await asyncio.sleep(self._breaker.remaining())
            try:
                with self._breaker.guard(OSError, WorkerProcessFailed, TimeoutError):
                    await self._spawn()
            except BreakerOpen:
                continue  # another worker is the probe
            except (OSError, WorkerProcessFailed, TimeoutError) as error:
                log.error("worker did not start", worker=self.number, reason=str(error) or "no answer")
                await self._end()
            else:
                self.state = "idle"
                return

    async def _spawn(self) -> None:
        self.state = "starting"
        self._process = await WorkerProcess.start("workers")
        self.pid = self._process.pid
        self.sandbox = self._process.sandbox

    async def run(self, job: Task) -> Done | Failed:
        """Have one job done. Cancelling the caller stops the job.

        Raises:
            ChildFailed: the child is gone or was killed for its silence; a new one has been started.
        """
        self.state = "busy"
        self._busy_since = self._clock()
        try:
            async with asyncio.timeout(job.timeout_s + _GRACE):
                assert self._process is not None  # noqa: S101 - it is started first
                await self._process.write(job.to_frame())
                while True:
                    message = await self._answer(self._process)
                    if isinstance(message, Started):
                        continue
                    if not isinstance(message, Done | Failed) or message.id != job.id:
                        raise WorkerProcessFailed("the child answered for another job")
                    self.state = "idle"
                    return message
        except TimeoutError:
            raise WorkerProcessFailed("the child did not keep the job's deadline") from None
        finally:
            self._jobs += 1
            self._busy_s += self._clock() - self._busy_since
            self._busy_since = None
            if self.state != "idle":
                await self._end()

    @property
    def is_alive(self) -> bool:
        """Whether it has a child that, as far as is known, still runs."""
        return self._process is not None and self._process.is_alive

    async def restart(self) -> None:
        """Replace a child that died."""
        self._restarts += 1
        await self.start()

    def cancel(self, job_id: str) -> None:
        """Ask the child to end the job, if that is the one it has."""
        if self._process is not None and self.state == "busy":
            self._process.post(Cancel(job_id).to_frame())

    async def stop(self) -> None:
        """End the child."""
        self.state = "stopped"
        await self._end()

    async def _answer(self, child: WorkerProcess) -> Started | Done | Failed | Ready:
        try:
            message = parse(await child.read())
        except ProtocolError as error:
            raise WorkerProcessFailed(f"the child spoke nonsense: {error}") from None
        if isinstance(message, Task | Cancel):
            raise WorkerProcessFailed("the child spoke nonsense: a message that only the parent sends")
        return message

    async def _end(self) -> None:
        child, self._process = self._process, None
        if child is not None:
            await child.end()

    def snapshot(self) -> WorkerSnapshot:
        """What it is on, and what it has done."""
        now = self._clock() - self._busy_since if self._busy_since is not None else 0.0
        return WorkerSnapshot(self.state, round((self._busy_s + now) * 1000), self._jobs, self._restarts)


class WorkerPool:
    """All workers."""

    def __init__(self, size: int, breaker: CircuitBreaker) -> None:
        self.workers = [Worker(number, breaker) for number in range(size)]

    async def start(self) -> None:
        """Start every child; returns when all are ready.

        Raises:
            PoolNotStarted: they do not start.
        """
        try:
            async with asyncio.timeout(_ALL_READY_WITHIN):
                await asyncio.gather(*(worker.start() for worker in self.workers))
        except TimeoutError:
            raise PoolNotStarted("the workers do not start; the log above says why") from None

    async def stop(self) -> None:
        """End every child."""
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    @property
    def busy(self) -> int:
        """Workers that are on a job."""
        return sum(worker.state == "busy" for worker in self.workers)

    def pids(self) -> list[int]:
        """The process ids of the children."""
        return [worker.pid for worker in self.workers if worker.pid is not None]

    @property
    def sandbox(self) -> dict[str, str]:
        """Which layers of the sandbox are in force."""
        return self.workers[0].sandbox if self.workers else {}

    def snapshot(self) -> list[WorkerSnapshot]:
        """Every worker, in order."""
        return [worker.snapshot() for worker in self.workers]
