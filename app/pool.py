"""The parent's half of the workers: a fixed number of warm children, each with one job at a time."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from app.breaker import Breaker, BreakerOpen
from workers.messages import (
    LENGTH_BYTES,
    MAX_FRAME,
    Cancel,
    Done,
    Failed,
    Job,
    ProtocolError,
    Ready,
    Started,
)
from workers.parser import parse

log = structlog.get_logger(__name__)

_READY_WITHIN = 30.0
_GRACE = 5.0
"""Seconds past a job's own deadline after which its child, who should have ended it, is killed too."""
_ALL_READY_WITHIN = 60.0


class PoolNotStarted(Exception):  # noqa: N818 - says what happened
    """Raised when the workers do not start with the service; its message is one clear line."""


class WorkerDied(Exception):  # noqa: N818 - says what happened
    """Raised when a child ended, hung or spoke nonsense while it had a job."""


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker: `state` is starting, idle, busy or stopped; `busy_ms` is all its time on jobs so far."""

    state: str
    busy_ms: int
    jobs: int
    restarts: int


class Worker:
    """One warm child process (`python -m workers`) and the pipe to it; started anew whenever it dies."""

    def __init__(self, number: int, breaker: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        """`breaker` is shared by all workers: it opens when children cannot be started."""
        self.number = number
        self._breaker = breaker
        self.state = "starting"
        self.sandbox: dict[str, str] = {}
        self.pid: int | None = None
        self._clock = clock
        self._process: Process | None = None
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
                with self._breaker.guard(OSError, WorkerDied, TimeoutError):
                    await self._spawn()
            except BreakerOpen:
                continue  # another worker is the probe
            except (OSError, WorkerDied, TimeoutError) as error:
                log.error("worker did not start", worker=self.number, reason=str(error) or "no answer")
                await self._kill()
            else:
                self.state = "idle"
                return

    async def _spawn(self) -> None:
        self.state = "starting"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "workers",
            str(os.getpid()),
            stdin=PIPE,
            stdout=PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("SPILLWAY_")},
            start_new_session=True,  # Ctrl+C in a terminal is the server's to handle
        )
        self.pid = self._process.pid
        async with asyncio.timeout(_READY_WITHIN):
            message = await self._read()
        if not isinstance(message, Ready):
            raise WorkerDied("the child did not begin with ready")
        self.sandbox = message.sandbox

    async def perform(self, job: Job) -> Done | Failed:
        """Have one job done. Cancelling the caller stops the job.

        Raises:
            WorkerDied: the child is gone or was killed for its silence; a new one has been started.
        """
        self.state = "busy"
        self._busy_since = self._clock()
        try:
            async with asyncio.timeout(job.timeout_s + _GRACE):
                await self._write(job.to_frame())
                while True:
                    message = await self._read()
                    if isinstance(message, Started):
                        continue
                    if not isinstance(message, Done | Failed) or message.id != job.id:
                        raise WorkerDied("the child answered for another job")
                    self.state = "idle"
                    return message
        except TimeoutError:
            raise WorkerDied("the child did not keep the job's deadline") from None
        finally:
            self._jobs += 1
            self._busy_s += self._clock() - self._busy_since
            self._busy_since = None
            if self.state != "idle":
                await self._kill()

    @property
    def is_alive(self) -> bool:
        """Whether it has a child that, as far as is known, still runs."""
        return self._process is not None and self._process.returncode is None

    async def restart(self) -> None:
        """Replace a child that died."""
        self._restarts += 1
        await self.start()

    def cancel(self, job_id: str) -> None:
        """Ask the child to end the job, if that is the one it has."""
        if self._process is not None and self._process.stdin is not None and self.state == "busy":
            with suppress(RuntimeError):  # uvloop's word for a closed pipe: the child is gone anyway
                self._process.stdin.write(Cancel(job_id).to_frame())

    async def stop(self) -> None:
        """End the child."""
        self.state = "stopped"
        await self._kill()

    async def _write(self, frame: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None  # noqa: S101, PT018
        try:
            self._process.stdin.write(frame)
            await self._process.stdin.drain()
        except (
            BrokenPipeError,
            ConnectionResetError,
            RuntimeError,
        ):  # the last is uvloop's, of a closed pipe
            raise WorkerDied("the child is gone") from None

    async def _read(self) -> Started | Done | Failed | Ready:
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018
        try:
            head = await self._process.stdout.readexactly(LENGTH_BYTES)
            length = int.from_bytes(head, "big")
            if length > MAX_FRAME:
                raise WorkerDied("the child sent a frame that is too long")
            message = parse(await self._process.stdout.readexactly(length))
        except asyncio.IncompleteReadError:
            raise WorkerDied("the child is gone") from None
        except ProtocolError as error:
            raise WorkerDied(f"the child spoke nonsense: {error}") from None
        if isinstance(message, Job | Cancel):
            raise WorkerDied("the child spoke nonsense: a message that only the parent sends")
        return message

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()

    def snapshot(self) -> WorkerSnapshot:
        """What it is on, and what it has done."""
        now = self._clock() - self._busy_since if self._busy_since is not None else 0.0
        return WorkerSnapshot(self.state, round((self._busy_s + now) * 1000), self._jobs, self._restarts)


class Pool:
    """All workers."""

    def __init__(self, size: int, breaker: Breaker) -> None:
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
