"""The workers: a fixed number of warm child processes, each of which does one job at a time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreaker
from app.engine.worker_process import WorkerProcess, WorkerProcessFailed
from workers.messages import Cancel, Done, Failed, Message, ProtocolError, Task
from workers.parser import parse

log = structlog.get_logger(__name__)

_GRACE_S = 5.0
"""Seconds past a job's own deadline after which its worker, which should have ended the job, is killed."""
_POOL_READY_TIMEOUT_S = 60.0
_START_FAILURES = OSError, WorkerProcessFailed, TimeoutError


class PoolNotStarted(Exception):
    """Raised when the workers do not start with the service; its message is one line for the operator."""


class WorkerState(StrEnum):
    """What a worker is doing."""

    STARTING = "starting"
    """It has no child yet, or its child died and is to be replaced."""
    IDLE = "idle"
    BUSY = "busy"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker at one moment; `busy_ms` is all the time that it has spent on jobs, in milliseconds."""

    state: WorkerState
    busy_ms: int
    jobs: int
    restarts: int


class Worker:
    """One warm child process (`python -m workers`), replaced by a new one when it dies.

    The child forks a process of its own for each job, so what an image does to a decoder usually ends that
    fork and not the child. A child that dies or breaks the protocol ends the call of `run`; the caller then
    calls `restart`.
    """

    def __init__(
        self, number: int, breaker: CircuitBreaker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`breaker`, shared by all workers, opens when children cannot be started; `clock` is in seconds."""
        self.number = number
        self._breaker = breaker
        self.state = WorkerState.STARTING
        self.sandbox: dict[str, str] = {}
        self.pid: int | None = None
        self._clock = clock
        self._process: WorkerProcess | None = None
        self._busy_s = 0.0
        self._busy_since: float | None = None
        self._jobs = 0
        self._restarts = 0

    async def start(self) -> None:
        """Start the child and return when it is ready, which it says after it has decoded a trial image.

        Tries until it succeeds. Failed starts count for the breaker, which says when to try again. The death
        of a child does not count, because an image may have caused it and no image may close the service.
        """
        while True:
            await asyncio.sleep(self._breaker.remaining())
            try:
                with self._breaker.guard(*_START_FAILURES):
                    await self._spawn()
            except BreakerOpen:
                continue  # another worker's start is the breaker's probe
            except _START_FAILURES as error:
                log.error("worker did not start", worker=self.number, reason=str(error) or "no answer")
                await self._end()
            else:
                self.state = WorkerState.IDLE
                return

    async def _spawn(self) -> None:
        self.state = WorkerState.STARTING
        self._process = await WorkerProcess.start("workers")
        self.pid = self._process.pid
        self.sandbox = self._process.sandbox

    async def run(self, task: Task) -> Done | Failed:
        """Have one task done, and return the child's answer. Cancelling the caller ends the child.

        Raises:
            WorkerProcessFailed: the child died, or was killed because it broke the protocol or the deadline.
        """
        self.state = WorkerState.BUSY
        self._busy_since = self._clock()
        try:
            async with asyncio.timeout(task.timeout_s + _GRACE_S):
                answer = await self._exchange(task)
            self.state = WorkerState.IDLE
            return answer
        except TimeoutError:
            raise WorkerProcessFailed("the process did not keep the job's deadline") from None
        finally:
            self._jobs += 1
            self._busy_s += self._clock() - self._busy_since
            self._busy_since = None
            if self.state != WorkerState.IDLE:
                if self.state == WorkerState.BUSY:  # unless it was stopped meanwhile
                    self.state = WorkerState.STARTING
                await self._end()

    async def _exchange(self, task: Task) -> Done | Failed:
        assert self._process is not None  # noqa: S101 - it is started first
        await self._process.write(task.to_frame())
        message = await self._read(self._process)
        if not isinstance(message, Done | Failed) or message.id != task.id:
            raise WorkerProcessFailed("the process did not answer for the job that it was given")
        return message

    async def _read(self, process: WorkerProcess) -> Message:
        try:
            return parse(await process.read())
        except ProtocolError as error:
            raise WorkerProcessFailed(f"the process sent an invalid message: {error}") from None

    @property
    def is_alive(self) -> bool:
        """Whether it has a child that, as far as is known, still runs."""
        return self._process is not None and self._process.is_alive

    async def restart(self) -> None:
        """Replace a child that died."""
        self._restarts += 1
        await self.start()

    def cancel(self, job_id: str) -> None:
        """Ask the child to end this job, without waiting for it; without effect on any other job."""
        if self._process is not None and self.state == WorkerState.BUSY:
            self._process.post(Cancel(job_id).to_frame())

    async def stop(self) -> None:
        """End the child at once."""
        self.state = WorkerState.STOPPED
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()

    def snapshot(self) -> WorkerSnapshot:
        """The present state, and what was done so far."""
        busy_s = self._busy_s
        if self._busy_since is not None:
            busy_s += self._clock() - self._busy_since
        return WorkerSnapshot(self.state, round(busy_s * 1000), self._jobs, self._restarts)


class WorkerPool:
    """All workers of this process."""

    def __init__(self, size: int, breaker: CircuitBreaker) -> None:
        self.workers = [Worker(number, breaker) for number in range(size)]

    async def start(self) -> None:
        """Start every worker; return when all are ready.

        Raises:
            PoolNotStarted: one of them does not start within a minute.
        """
        try:
            async with asyncio.timeout(_POOL_READY_TIMEOUT_S):
                await asyncio.gather(*(worker.start() for worker in self.workers))
        except TimeoutError:
            raise PoolNotStarted("the workers do not start; the log above says why") from None

    async def stop(self) -> None:
        """End every worker at once."""
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    @property
    def busy(self) -> int:
        """How many workers are on a job."""
        return sum(worker.state == WorkerState.BUSY for worker in self.workers)

    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.pid for worker in self.workers if worker.pid is not None]

    @property
    def sandbox(self) -> dict[str, str]:
        """The state of each layer of the workers' sandbox, by its name."""
        return self.workers[0].sandbox if self.workers else {}

    def snapshot(self) -> list[WorkerSnapshot]:
        """Every worker, in order."""
        return [worker.snapshot() for worker in self.workers]
