"""The engine of one machine: an asyncio.Queue and worker processes of this very process."""

import asyncio
import errno
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import structlog

from app.backlog import Backlog, Slot
from app.breaker import BreakerOpen, Breakers
from app.bucket import Quota
from app.engine import Draining, EngineSnapshot, JobCounters, Place
from app.job import CANCELLED, DONE, FAILED, PROCESSING, QUEUED, Job
from app.limiter import Grant, Limiter
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


class LocalEngine:
    """Runs jobs from the backlog on the pool, and keeps the record in the store in step."""

    def __init__(
        self,
        limiter: Limiter,
        backlog: Backlog[Live],
        pool: Pool,
        store: Store,
        histograms: Histograms,
        breakers: Breakers,
        *,
        variants: Sequence[Variant],
        max_pixels: int,
        job_timeout: float,
        worker_memory: int,
        truncated: bool,
        blurhash: bool,
        drain_timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Timeouts in seconds, `worker_memory` in bytes; `clock` dates the records."""
        self.backlog = backlog
        self.pool = pool
        self._limiter = limiter
        self._store = store
        self._histograms = histograms
        self._breakers = breakers
        self._variants = tuple(variant.spec for variant in variants)
        self._max_pixels = max_pixels
        self._job_timeout = job_timeout
        self._worker_memory = worker_memory
        self._truncated = truncated
        self._blurhash = blurhash
        self._drain_timeout = drain_timeout
        self._clock = clock
        self._live: dict[str, Live] = {}
        self._counters = JobCounters()
        self._state = "starting"
        self._tasks: list[asyncio.Task[None]] = []
        self._idle: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._settlers = asyncio.Semaphore(_SETTLING_PER_WORKER * len(pool.workers))

    # --- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        await self.pool.start()
        self._tasks = [
            asyncio.create_task(self._serve(worker), name=f"worker {worker.number}")
            for worker in self.pool.workers
        ]
        await self._recover()  # before the first newcomer, who comes after these
        self._state = "ready"

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
        self._state = "draining"
        for task in list(self._idle):
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._unfinished():  # noqa: ASYNC110 - three kinds of end to wait for
                    await asyncio.sleep(0.05)

    def _unfinished(self) -> bool:
        return bool(self.backlog.snapshot().receiving or self.pool.busy or self._settling)

    async def stop(self) -> None:
        self._state = "draining"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*self._settling, return_exceptions=True)
        await self.pool.stop()

    # --- what the gate asks ----------------------------------------------------------------------------

    async def spend(self, client: str) -> Grant:
        return self._limiter.spend(client)

    def quota(self, client: str) -> Quota:
        return self._limiter.quota(client)

    def check_share(self, client: str) -> None:
        self.backlog.check_share(client)

    def check_open(self) -> None:
        if self._state == "draining":
            raise Draining(max(1.0, self._drain_timeout))
        self._breakers.workers.check()
        self._breakers.store.check()

    async def reserve(self, client: str, not_before: float) -> Place:
        self.backlog.check_room(not_before)
        return self.backlog.reserve(client)

    @property
    def dock_full(self) -> bool:
        return self.backlog.dock_full

    def offer(self, place: Place, job: Job) -> Live:
        assert isinstance(place, Slot)  # noqa: S101 - an engine is given its own places only
        live = Live(job, place.client, accepted_at=time.monotonic())
        self._live[job.id] = live
        self._counters.accepted += 1
        place.offer(live)
        return live

    def live(self, job_id: str) -> Live | None:
        return self._live.get(job_id)

    def position(self, live: Live) -> tuple[int | None, float | None]:
        place = self.backlog.position(live)
        return place, None if place is None else self.backlog.pacer.wait(place)

    async def cancel(self, job_id: str) -> None:
        live = self._live.get(job_id)
        if live is None:
            return
        live.cancelled = True
        if self.backlog.remove(live):
            self._end(live, live.job, CANCELLED)
        elif live.worker is not None:
            live.worker.cancel(job_id)
        await live.ended.wait()

    def snapshot(self) -> EngineSnapshot:
        return EngineSnapshot(
            self._counters,
            self._limiter.snapshot(),
            self.backlog.snapshot(),
            self.pool.snapshot(),
            self.pool.sandbox,
            self._breakers.snapshot(),
            self._state,
            self.backlog.full_for,
        )

    # --- the work --------------------------------------------------------------------------------------

    async def _serve(self, worker: Worker) -> None:
        """Give one worker job after job, until the engine drains."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        while self._state != "draining":
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
                outcome = await worker.perform(
                    Task(
                        id=job.id,
                        source=str(self._store.source(job.id)),
                        folder=str(folder),
                        variants=job.wanted or self._variants,
                        max_pixels=self._max_pixels,
                        timeout_s=self._job_timeout,
                        memory_bytes=self._worker_memory,
                        truncated=self._truncated,
                        blurhash=self._blurhash,
                    )
                )
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
        asked = {variant.name for variant in parse_variants(",".join(job.wanted or self._variants))}
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
            self._counters.cancelled += 1
        elif status == DONE:
            self._counters.done += 1
        else:
            self._counters.failed += 1
        log.info(
            "job ended",
            job=live.job.id,
            status=status,
            reason=live.job.problem[0] if live.job.problem else None,
            attempts=live.attempts,
        )
        live.move(status)
