"""Takes jobs from the cluster's queue, each when a worker of this process is free for it."""

import asyncio
from functools import partial

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from app.backpressure.circuit_breaker import BreakerState
from app.cluster.connection import UNAVAILABLE, NatsConnection
from app.cluster.heartbeats import Heartbeat
from app.cluster.jetstream import JOBS, WORKERS
from app.cluster.job_delivery import DeliveryHandler, hand_back
from app.cluster.job_status import JobStatusStore
from app.engine.dispatcher import Dispatcher
from app.runtime import tasks
from app.storage.interface import Store

log = structlog.get_logger(__name__)

_PULL_TIMEOUT_S = 2.0
"""Seconds for which one pull request waits for a job."""
_RETRY_S = 0.5


class FreeWorkers:
    """Counts free workers. A job occupies one until its variants are made or it has ended."""

    def __init__(self, count: int) -> None:
        self.count = count
        """How many workers there are."""
        self._occupied_by: set[str] = set()
        self._available = asyncio.Event()
        self._available.set()

    async def wait(self) -> None:
        """Return when a worker is free."""
        await self._available.wait()

    def occupy(self, job_id: str) -> None:
        """Count a worker as taken by a job."""
        self._occupied_by.add(job_id)
        self._update()

    def free(self, job_id: str) -> None:
        """Count the worker of a job as free. Harmless when it has none."""
        self._occupied_by.discard(job_id)
        self._update()

    def _update(self) -> None:
        if len(self._occupied_by) < self.count:
            self._available.set()
        else:
            self._available.clear()


class JobConsumer:
    """Connects one process's dispatcher to the cluster's queue."""

    def __init__(
        self,
        connection: NatsConnection,
        job_status: JobStatusStore,
        dispatcher: Dispatcher,
        free_workers: FreeWorkers,
        store: Store,
    ) -> None:
        """`free_workers` is told by the dispatcher of workers that became free."""
        self._connection = connection
        self._dispatcher = dispatcher
        self._free_workers = free_workers
        self._deliveries = DeliveryHandler(connection, job_status, dispatcher, store)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._puller: asyncio.Task[None] | None = None
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._is_fetching = False
        self._is_stopping = False

    def heartbeat(self, *, serves: bool) -> Heartbeat:
        """The state of this process; `serves` tells whether it also takes uploads."""
        pool = self._dispatcher.pool
        return Heartbeat(serves, self._free_workers.count, tuple(pool.snapshot()), pool.sandbox)

    async def start(self) -> None:
        """Start the workers and take jobs for them."""
        await self._dispatcher.start()
        self._puller = tasks.supervise(self._pull, "job consumer")

    async def drain(self, timeout: float) -> None:
        """Take no more jobs; return when those in progress have ended, or after `timeout` seconds."""
        self._is_stopping = True
        if self._puller is not None and self._is_fetching:
            # A job that NATS sends in answer to a pull that nobody waits for would lie idle for ACK_WAIT_S.
            await asyncio.wait([self._puller], timeout=_PULL_TIMEOUT_S)
        await self._stop_pulling()
        if self._jobs:
            await asyncio.wait(self._jobs.values(), timeout=timeout)
        log.info("drained", jobs_left=len(self._jobs))

    async def stop(self) -> None:
        """End the workers at once, then hand unfinished jobs back to the queue."""
        await self._stop_pulling()
        await self._dispatcher.stop()
        await tasks.cancel_and_wait(self._jobs.values())

    async def _stop_pulling(self) -> None:
        if self._puller is not None:
            await tasks.cancel_and_wait([self._puller])

    async def _pull(self) -> None:
        while not self._is_stopping:
            await self._free_workers.wait()
            message = await self._next()
            if message is None:
                continue
            if self._is_stopping:
                await hand_back(message)
                return
            job_id = message.subject.rpartition(".")[2]
            if job_id in self._jobs:  # redelivered: whoever handles the first delivery goes on with it
                continue
            self._free_workers.occupy(job_id)
            task = asyncio.create_task(self._deliveries.handle(message, job_id), name=f"job {job_id}")
            self._jobs[job_id] = task
            task.add_done_callback(partial(self._ended, job_id))

    async def _next(self) -> Msg | None:
        """The next job's message, or None when none came within seconds."""
        try:
            if self._connection.breaker.snapshot().state != BreakerState.CLOSED:
                # A pull is not counted by the breaker, so ask whether NATS is back.
                async with self._connection.request() as js:
                    await js.account_info()
            if self._subscription is None:
                async with self._connection.request() as js:
                    self._subscription = await js.pull_subscribe_bind(durable=WORKERS, stream=JOBS)
            self._is_fetching = True
            messages = await self._subscription.fetch(1, timeout=_PULL_TIMEOUT_S)
            return messages[0] if messages else None
        except TimeoutError:  # the queue is empty
            return None
        except (NatsError, OSError, *UNAVAILABLE) as error:
            log.debug("no job from the queue", reason=str(error))
            await asyncio.sleep(_RETRY_S)
            return None
        finally:
            self._is_fetching = False

    def _ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        del self._jobs[job_id]
        self._free_workers.free(job_id)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("handling of a job failed", task=task.get_name(), exc_info=error)
