"""The foreman: gives jobs from the backlog to the workers and brings what they make to the store."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from app.backpressure.circuit_breaker import BreakerOpen, Breakers
from app.engine.interface import JobCounters
from app.engine.job_handle import Live
from app.engine.job_plan import Orders, Part
from app.engine.outcomes import Settlement
from app.engine.work_queue import Supply
from app.engine.worker_pool import Pool, Worker
from app.engine.worker_process import ChildFailed
from app.job import CANCELLED, DEADLY, DONE, PROCESSING, QUEUED, Job
from app.runtime import tasks
from app.runtime.metrics import Histograms
from app.storage.interface import JobGone, Store
from workers.messages import Done, Failed

log = structlog.get_logger(__name__)

_SETTLING_PER_WORKER = 2
_STORE_PAUSE = 1.0
"""Seconds before a job is tried again whose outcome the store could not take."""


class Foreman:
    """Has the pool do the jobs of the backlog, keeps their records in step, and tells those who wait.

    In a brownout a job is made in two parts. With the first it is done; for the second it goes to the lane.
    """

    def __init__(
        self,
        supply: Supply,
        pool: Pool,
        store: Store,
        histograms: Histograms,
        breakers: Breakers,
        orders: Orders,
    ) -> None:
        self.supply = supply
        self.pool = pool
        self.counters = JobCounters()
        self.on_free: Callable[[Live], None] = lambda _: None
        """Called when a worker has done its part of a job, which is yet to be settled."""
        self._store = store
        self._histograms = histograms
        self._breakers = breakers
        self._orders = orders
        self._settlement = Settlement(store, orders)
        self._live: dict[str, Live] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._settling: set[asyncio.Task[None]] = set()
        self._on_duty = [asyncio.Event() for _ in pool.workers]
        self.assign(len(pool.workers))
        self._settlers = asyncio.Semaphore(_SETTLING_PER_WORKER * len(pool.workers))

    # --- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the workers."""
        await self.pool.start()
        self._tasks = [
            asyncio.create_task(self._serve(worker, duty), name=f"worker {worker.number}")
            for worker, duty in zip(self.pool.workers, self._on_duty, strict=True)
        ]

    async def recover(self) -> None:
        """Take up what an earlier run left undone, ahead of every newcomer."""
        count = 0
        async for job in self._store.pending():
            self.take_up(job)
            count += 1
        if count:
            log.info("took up unfinished jobs", jobs=count)

    def take_up(self, job: Job) -> Live:
        """Answer for a job that was accepted before, or elsewhere."""
        live = Live(job, client=job.id)  # whose it was is not on record, so none waits for another
        self._live[job.id] = live
        self._put_back(live)
        return live

    def assign(self, count: int) -> None:
        """Have the first `count` workers take jobs; the others finish what they have, and rest."""
        for place, duty in enumerate(self._on_duty):
            duty.set() if place < count else duty.clear()
        self.supply.rouse()

    async def drain(self, timeout: float) -> None:
        """Begin no job more; return when those under way are settled, or after `timeout` seconds."""
        self.supply.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._unfinished():  # noqa: ASYNC110 - three kinds of end to wait for
                    await asyncio.sleep(0.05)

    def _unfinished(self) -> bool:
        return bool(self.supply.backlog.snapshot().receiving or self.pool.busy or self._settling)

    async def stop(self) -> None:
        """End the workers at once; what is unfinished stays in the store."""
        self.supply.close()
        await tasks.end(self._tasks)
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
        """Take a job out of queue or lane, or stop it; returns when nothing works on it any more."""
        live.cancelled = True
        if self.supply.remove(live):
            self._end_cancelled(live)
        elif live.worker is not None:
            live.worker.cancel(live.job.id)
        await live.ended.wait()

    # --- the work --------------------------------------------------------------------------------------

    async def _serve(self, worker: Worker, duty: asyncio.Event) -> None:
        """Give one worker job after job while it is on duty, until the drain."""
        while not self.supply.is_closed:
            await duty.wait()
            live = await self.supply.take(duty.is_set)
            if live is None:
                continue
            if live.abandoned and not live.job.deferred:
                await self._drop(live)
            elif not worker.is_alive:  # it died with nothing to do, so no job is to blame
                self._put_back(live)
                await worker.restart()
            else:
                await self._settlers.acquire()
                if not await self._perform(worker, live):
                    await worker.restart()

    async def _drop(self, live: Live) -> None:
        """Remove a job that nobody waits for and nobody was promised."""
        try:
            await self._store.delete(live.job.id)
        except OSError as error:
            log.error("abandoned upload could not be removed", job=live.job.id, reason=str(error))
        self._end_cancelled(live)

    async def _perform(self, worker: Worker, live: Live) -> bool:
        """Have a part of the job made; its outcome is settled beside the worker's next job.

        False when the worker is gone, and the outcome with it.
        """
        job = live.job
        part = Part(())
        live.worker = worker
        started = time.monotonic()
        if not job.deferred:
            live.move(PROCESSING)
            if live.accepted_at:
                self._histograms.wait.observe(started - live.accepted_at)
        folder: Path | None = None
        survived = True
        try:
            part = self._orders.part(job, self.supply.brownout)
            with self._breakers.store.guard(OSError):
                folder = await self._store.workspace(job.id)
                source = await self._store.fetch(job.id, folder)
            if live.cancelled:
                outcome: Done | Failed = Failed(job.id, "cancelled", "")
            else:
                outcome = await worker.perform(self._orders.task(job, part, source, folder))
        except JobGone:
            log.warning("a job's files were removed by hand", job=job.id)
            outcome = Failed(job.id, "cancelled", "")
        except (OSError, BreakerOpen):
            outcome = Failed(job.id, "no-space", "The store could not be written.")
        except Exception as death:
            if not isinstance(death, ChildFailed):
                log.exception("job went wrong", job=job.id)
            log.warning("worker died", worker=worker.number, job=job.id, reason=str(death))
            outcome = Failed(job.id, *DEADLY)
            survived = False
        finally:
            live.worker = None
        if survived:
            busy = time.monotonic() - started
            self._histograms.service.observe(busy)
            self.supply.record(part, busy, rest=bool(job.deferred))
        self.on_free(live)
        settling = asyncio.create_task(self._settle(live, part, outcome, folder))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        return survived

    # --- what came of it -------------------------------------------------------------------------------

    async def _settle(self, live: Live, part: Part, outcome: Done | Failed, folder: Path | None) -> None:
        """Bring the outcome to the store. Nobody is told of it before its record is durable."""
        reason = outcome.reason if isinstance(outcome, Failed) else None
        try:
            if live.cancelled or reason == "cancelled":
                self._end_cancelled(live)
                return
            if reason == "no-space":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with self._breakers.store.guard(OSError):
                job = await self._become(live.job, part, outcome, folder)
            self._tell(live, job)
        except JobGone:
            log.warning("a job's files were removed by hand", job=live.job.id)
            self._end_cancelled(live)
        except (OSError, BreakerOpen) as error:
            log.error("store failed while a job was settled", job=live.job.id, reason=str(error))
            await self._do_again(live)
        except Exception:
            log.exception("nothing could be settled of a job", job=live.job.id)
            await self._do_again(live)
        finally:
            self._settlers.release()
            if folder is not None:
                await self._store.drop_workspace(folder)

    async def _become(self, job: Job, part: Part, outcome: Done | Failed, folder: Path | None) -> Job:
        """What the outcome makes of a job. Our own fault counts as a death: it may come each time."""
        try:
            return await self._settlement.settle(job, part, outcome, folder)
        except (OSError, JobGone):
            raise
        except Exception:
            log.exception("what came of a job could not be settled", job=job.id)
            died = Failed(job.id, "worker-died", "What was made of it could not be kept.")
            return await self._settlement.settle(job, part, died, None)

    async def _do_again(self, live: Live) -> None:
        """The outcome could not be written, so the job is still as it was on disk."""
        await asyncio.sleep(max(_STORE_PAUSE, self._breakers.store.remaining()))
        self._put_back(live)

    def _tell(self, live: Live, job: Job) -> None:
        """The job is, durably, what it has become: tell whoever waits, and see to what is left of it."""
        before, live.job = live.job, job
        if job.status == QUEUED or (before.deferred and job.deferred):
            self._put_back(live)
            return
        if job.is_final:
            self._forget(live)
        # In a second part the last variant is the end, and bears its id: who reconnects then is done.
        for count in range(len(before.made) + 1, len(job.made) + 1):
            last = before.deferred and count == len(job.made)
            live.announce("variant", None if last else f"variant.{count}")
        log.info(
            "job ended",
            job=job.id,
            status=job.status,
            reason=job.problem and job.problem[0],
            deferred=job.deferred,
        )
        if not before.deferred:
            self._count(job)
            live.move(job.status)
        elif job.problem:
            live.announce(DONE)
        if job.deferred:
            self._put_back(live)

    def _count(self, job: Job) -> None:
        if job.status == DONE:
            self.counters.done += 1
            self.counters.deferred += bool(job.deferred)
        else:
            self.counters.failed += 1

    def _put_back(self, live: Live) -> None:
        """Let a job wait for its turn, the rest of one in the lane."""
        if live.cancelled:
            self._end_cancelled(live)
            return
        if not live.job.deferred:
            live.move(QUEUED)
        self.supply.put(live)

    def _end_cancelled(self, live: Live) -> None:
        """Nothing works on the job any more, and its files are to go."""
        self._forget(live)
        self.counters.cancelled += live.job.status != DONE
        live.job = replace(live.job, made={}, deferred=())
        live.move(CANCELLED)

    def _forget(self, live: Live) -> None:
        self._live.pop(live.job.id, None)
        self.supply.release(live)
