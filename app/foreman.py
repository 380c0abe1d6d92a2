"""The foreman: gives jobs from the backlog to the workers and brings what they make to the store."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from app.backlog import Backlog
from app.breaker import BreakerOpen, Breakers
from app.engine import JobCounters
from app.job import CANCELLED, DONE, FAILED, PROCESSING, QUEUED, Job
from app.live import Live
from app.metrics import Histograms
from app.pool import Pool, Worker, WorkerDied
from app.store import Store, VariantRejected
from workers.messages import Done, Failed
from workers.messages import Job as Task
from workers.variants import Variant, parse_variants

log = structlog.get_logger(__name__)

_ATTEMPTS = 2
_SETTLING_PER_WORKER = 2
_STORE_PAUSE = 1.0
"""Seconds before a job is tried again whose outcome the store could not take."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What holds for every job: `timeout_s` in seconds, `memory_bytes` for one process.

    `variants` are made for a job that names none; `truncated` takes what is there of a cut-off file.
    """

    variants: tuple[Variant, ...]
    max_pixels: int
    timeout_s: float
    memory_bytes: int
    truncated: bool
    blurhash: bool

    def wanted(self, job: Job) -> tuple[Variant, ...]:
        """All variants that a job is to end with."""
        return parse_variants(",".join(job.wanted)) if job.wanted else self.variants

    def task(self, job: Job, source: Path, folder: Path) -> Task:
        """The order to a worker: read `source`, write into `folder`."""
        return Task(
            id=job.id,
            source=str(source),
            folder=str(folder),
            variants=tuple(variant.spec for variant in self.wanted(job)),
            max_pixels=self.max_pixels,
            timeout_s=self.timeout_s,
            memory_bytes=self.memory_bytes,
            truncated=self.truncated,
            blurhash=self.blurhash,
        )


class Foreman:
    """Has the pool do the jobs of the backlog, keeps their records in step, and tells those who wait."""

    def __init__(
        self,
        backlog: Backlog[Live],
        pool: Pool,
        store: Store,
        histograms: Histograms,
        breakers: Breakers,
        orders: Orders,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` dates the records, in seconds since the epoch."""
        self.backlog = backlog
        self.pool = pool
        self.counters = JobCounters()
        self._store = store
        self._histograms = histograms
        self._breakers = breakers
        self._orders = orders
        self._clock = clock
        self._live: dict[str, Live] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._idle: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._settlers = asyncio.Semaphore(_SETTLING_PER_WORKER * len(pool.workers))
        self._draining = False

    # --- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the workers and put what an earlier run left undone at the head of the queue."""
        await self.pool.start()
        self._tasks = [
            asyncio.create_task(self._serve(worker), name=f"worker {worker.number}")
            for worker in self.pool.workers
        ]
        await self._recover()  # before the first newcomer, who comes after these

    async def _recover(self) -> None:
        count = 0
        async for job in self._store.pending():
            job.status = QUEUED
            live = Live(job, client="")
            self._live[job.id] = live
            self.backlog.restore(live)
            count += 1
        if count:
            log.info("took up unfinished jobs", jobs=count)

    async def drain(self, timeout: float) -> None:
        """Begin no job more; return when those under way are settled, or after `timeout` seconds."""
        self._draining = True
        for task in list(self._idle):
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._unfinished():  # noqa: ASYNC110 - three kinds of end to wait for
                    await asyncio.sleep(0.05)

    def _unfinished(self) -> bool:
        return bool(self.backlog.snapshot().receiving or self.pool.busy or self._settling)

    async def stop(self) -> None:
        """End the workers at once; what is unfinished stays in the store."""
        self._draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*self._settling, return_exceptions=True)
        await self.pool.stop()

    # --- jobs under way --------------------------------------------------------------------------------

    def accept(self, job: Job, client: str) -> Live:
        """Answer for a job from now on; it is yet to be put into the backlog."""
        live = Live(job, client, accepted_at=time.monotonic())
        self._live[job.id] = live
        self.counters.accepted += 1
        return live

    def live(self, job_id: str) -> Live | None:
        """The job if it is under way."""
        return self._live.get(job_id)

    async def cancel(self, live: Live) -> None:
        """Take a job out of the queue or stop it; returns when nothing works on it any more."""
        live.cancelled = True
        if self.backlog.remove(live):
            self._end(live, live.job, CANCELLED)
        elif live.worker is not None:
            live.worker.cancel(live.job.id)
        await live.ended.wait()

    # --- the work --------------------------------------------------------------------------------------

    async def _serve(self, worker: Worker) -> None:
        """Give one worker job after job, until the engine drains."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        while not self._draining:
            self._idle.add(task)
            try:
                live = await self.backlog.take()
            finally:
                self._idle.discard(task)
            await self._settlers.acquire()
            try:
                await self._perform(worker, live)
            except WorkerDied as death:
                await self._bury(worker, live, death)
            except Exception as bug:
                log.exception("job went wrong", job=live.job.id)
                await self._bury(worker, live, WorkerDied(str(bug)))

    async def _perform(self, worker: Worker, live: Live) -> None:
        """Run the job; the settling of its outcome goes on beside the worker's next job.

        Raises:
            WorkerDied: the child is gone, and the outcome with it.
        """
        job = live.job
        live.attempts += 1
        live.worker = worker
        live.move(PROCESSING)
        started = time.monotonic()
        if live.accepted_at:
            self._histograms.wait.observe(started - live.accepted_at)
        folder: Path | None = None
        settled = False
        try:
            with self._breakers.store.guard(OSError):
                folder = await self._store.workspace(job.id)
            if live.cancelled:
                outcome: Done | Failed = Failed(job.id, "cancelled", "")
            else:
                outcome = await worker.perform(self._orders.task(job, self._store.source(job.id), folder))
            settled = True
        except (OSError, BreakerOpen):
            outcome = Failed(job.id, "no-space", "The store could not be written.")
            settled = True
        finally:
            live.worker = None
            if not settled:
                self._settlers.release()
                if folder is not None:
                    await self._store.drop_workspace(folder)
        busy = time.monotonic() - started
        self.backlog.pacer.record(busy)
        self._histograms.service.observe(busy)
        settling = asyncio.create_task(self._settle(live, outcome, folder))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)

    async def _bury(self, worker: Worker, live: Live, death: WorkerDied) -> None:
        """A child died with a job: try the job once more, and start another child."""
        log.warning("worker died", worker=worker.number, job=live.job.id, reason=str(death))
        if live.cancelled:
            self._end(live, live.job, CANCELLED)
        elif live.attempts < _ATTEMPTS:
            self._retry(live)
        else:
            await self._settlers.acquire()
            died = Failed(live.job.id, "worker-died", "The process that worked on it died twice.")
            await self._settle(live, died, None)
        await worker.restart()

    def _retry(self, live: Live) -> None:
        live.move(QUEUED)
        self.backlog.restore(live)

    async def _settle(self, live: Live, outcome: Done | Failed, folder: Path | None) -> None:
        """Bring the outcome to the store. Nobody is told of it before its record is durable."""
        reason = outcome.reason if isinstance(outcome, Failed) else None
        try:
            if live.cancelled or reason == "cancelled":
                self._end(live, live.job, CANCELLED)
            elif reason == "worker-died" and live.attempts < _ATTEMPTS:
                self._retry(live)
            elif reason == "no-space":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            else:
                with self._breakers.store.guard(OSError):
                    if isinstance(outcome, Failed):
                        job = self._failed(live.job, outcome.reason, outcome.detail)
                    else:
                        job = await self._adopted(live.job, outcome, folder)
                    await self._store.save(job)
                self._end(live, job, job.status)
        except (OSError, BreakerOpen) as error:
            # The outcome could not be written, so the job is still as it was on disk: it is done again.
            log.error("store failed while a job was settled", job=live.job.id, reason=str(error))
            await asyncio.sleep(max(_STORE_PAUSE, self._breakers.store.remaining()))
            self._retry(live)
        finally:
            self._settlers.release()
            if folder is not None:
                await self._store.drop_workspace(folder)

    def _failed(self, job: Job, reason: str, detail: str) -> Job:
        return replace(job, status=FAILED, finished_at=self._clock(), problem=(reason, detail))

    async def _adopted(self, job: Job, outcome: Done, folder: Path | None) -> Job:
        """The job as it is with what the worker made; failed if that is not what was asked for."""
        asked = {variant.name for variant in self._orders.wanted(job)}
        try:
            # Names are unique and name their own files: `messages.parse` takes nothing else.
            if folder is None or {item.name for item in outcome.made} != asked:
                raise VariantRejected("not what was asked for")
            made = await self._store.adopt(job, folder, outcome.made)
        except VariantRejected as rejection:
            log.error("worker's output rejected", job=job.id, reason=str(rejection))
            return self._failed(job, "worker-died", "The process that worked on it gave no usable answer.")
        return replace(
            job,
            status=DONE,
            finished_at=self._clock(),
            source=asdict(outcome.source),
            blurhash=outcome.blurhash or None,
            made=made,
        )

    def _end(self, live: Live, job: Job, status: str) -> None:
        """The job is over, durably: tell whoever waits."""
        self._live.pop(job.id, None)
        live.job = job
        for count in range(1, len(job.made) + 1):
            live.announce("variant", f"variant.{count}")
        if status == CANCELLED:
            self.counters.cancelled += 1
        elif status == DONE:
            self.counters.done += 1
        else:
            self.counters.failed += 1
        log.info(
            "job ended",
            job=live.job.id,
            status=status,
            reason=live.job.problem[0] if live.job.problem else None,
            attempts=live.attempts,
        )
        live.move(status)
