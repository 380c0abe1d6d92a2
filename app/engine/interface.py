"""The engine as the HTTP layer sees it: a protocol, so that one machine and many look alike.

An engine holds the rate limiter, the queue and the status of jobs; the store holds the bytes and the records.
There are two engines: `app.engine.local.LocalEngine` and `app.cluster.engine.ClusterEngine`. What both decide
in the same way is in `app.engine.base.BaseEngine`, from which a third one should derive too.

The path of an upload: `acquire_token`, `check_share` and `check_open` decide whether it is taken at all;
`reserve` gives it a receiving slot, in which its body is read; when the store has accepted it, `enqueue`
exchanges the slot for a job handle.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, Protocol

from app.backpressure.brownout import BrownoutSnapshot
from app.backpressure.circuit_breaker import BreakerSnapshot
from app.backpressure.rate_limiter import Grant, LimiterSnapshot
from app.backpressure.reservation_table import Requester
from app.backpressure.reservations import ReservationsSnapshot
from app.backpressure.token_bucket import GCRA, Quota
from app.backpressure.upload_queue import UploadQueueSnapshot
from app.backpressure.waiting_room import Watch
from app.engine.job_handle import JobHandle
from app.engine.worker_pool import WorkerSnapshot
from app.job import Job
from app.webhooks.outbox import Outbox, WebhookSnapshot


class Draining(Exception):
    """Raised when the service is shutting down and receives no more uploads."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the service is shutting down")
        self.retry_after = retry_after


class Starting(Exception):
    """Raised when the service receives no uploads yet: it has still to take up those of an earlier run."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the service is starting")
        self.retry_after = retry_after


class EngineFull(Exception):
    """Raised when the engine has no storage left to queue another job."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue has no storage left for another job")
        self.retry_after = retry_after


class EngineUnusable(Exception):
    """Raised when an engine cannot be started; its message is one line for the operator."""


class EngineState(StrEnum):
    """What an engine is doing. Only a ready one receives uploads."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(slots=True)
class JobCounters:
    """How many jobs were accepted since the start, and how they ended; `deferred` ones are done as well.

    `provisional` counts those of the deferred that were done with a provisional variant. `accepted_bytes` is
    the sum of the uploads' sizes.
    """

    accepted: int = 0
    accepted_bytes: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    deferred: int = 0
    provisional: int = 0


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The whole engine at one moment. `sandbox` names each layer of the workers' sandbox and its state."""

    jobs: JobCounters
    limiter: LimiterSnapshot
    upload_queue: UploadQueueSnapshot
    reservations: ReservationsSnapshot
    workers: list[WorkerSnapshot]
    sandbox: dict[str, str]
    brownout: BrownoutSnapshot
    breakers: list[BreakerSnapshot]
    state: EngineState
    full_for_s: float
    """Seconds for which the queue has been full without a break."""
    webhook: WebhookSnapshot | None = None
    """None where no webhooks are sent."""


class UploadSlot(Protocol):
    """The receiving slot of one upload, from `Engine.reserve` until `Engine.enqueue` or `release`."""

    def progress(self, share: float) -> None:
        """Tell how much of the upload has arrived, from 0 to 1, so that a slow one keeps nobody out."""

    def release(self) -> None:
        """Give the slot back. Has no effect after `Engine.enqueue` or when called again."""


class Engine(Protocol):
    """What the HTTP layer needs of an engine. Times are in seconds.

    A client may have limits of its `own`; whoever asks about its bucket names the same ones each time.
    """

    @property
    def outbox(self) -> Outbox:
        """Where events wait until they are delivered."""

    async def start(self) -> None:
        """Start the workers and give them the jobs that an earlier run left unfinished.

        Raises:
            EngineUnusable: something that the engine needs is not there.
            PoolNotStarted: the worker processes do not start.
        """

    async def drain(self, timeout: float) -> None:
        """Refuse new uploads; return when running jobs and uploads are finished, or after `timeout`."""

    async def stop(self) -> None:
        """Stop at once; unfinished jobs stay in the store. Also called after a failed `start`."""

    async def acquire_token(self, client: str, own: GCRA | None = None) -> Grant:
        """Take a token from the client's bucket.

        Raises:
            RateLimited: the bucket is empty.
        """

    def local_quota(self, client: str, own: GCRA | None = None) -> Quota:
        """What is left of the client's quota, as far as this process knows; takes no token."""

    async def remaining_quota(self, client: str, own: GCRA | None = None) -> Quota:
        """What is left of the client's quota in all processes; takes no token."""

    def is_due(self, key: str) -> bool:
        """Whether the upload with this key holds a reservation that is due: it needs no token."""

    def waive_token(self, key: str) -> bool:
        """Whether the upload with this key needs no token; true at most once for each reservation."""

    def certainly_refuses(self, requester: Requester) -> bool:
        """Whether an upload that asked now would be refused, by a breaker, a start, a drain or a full queue.

        False where there may be a slot for it, and where that, or whether the client has a token, cannot be
        told without waiting.
        """

    @property
    def gives_tokens_at_once(self) -> bool:
        """Whether `acquire_local_token` is all that a token takes."""

    def acquire_local_token(self, client: str, own: GCRA | None = None) -> Quota:
        """Take a token without waiting, for a client whose upload is certainly refused.

        Raises:
            RateLimited: the client's bucket is empty.
        """

    def refuse(self, requester: Requester, not_before: float) -> NoReturn:
        """Refuse a slot at once, with a reservation for `not_before` seconds from now or later.

        Raises:
            QueueFull: always.
        """

    def check_share(self, client: str, share: int | None = None) -> None:
        """Check that the client has less than its share of the queue and of the receiving slots.

        `share` is its own; without one it is that of every client.

        Raises:
            ShareExceeded: it has all of it.
        """

    def check_open(self, requester: Requester, not_before: float) -> None:
        """Check that the engine receives uploads at all.

        A refusal carries a reservation for when it will again, `not_before` seconds from now at the earliest.

        Raises:
            Starting: the start is not over.
            Draining: the service is shutting down.
            EngineFull: the cluster has no storage left for another job.
            BreakerOpen: the workers do not start, the store fails or the cluster is not reachable.
        """

    async def reserve(self, requester: Requester, not_before: float, watch: Watch) -> UploadSlot:
        """Give the upload a receiving slot, after a moment in the waiting room if it has a reservation.

        Raises:
            QueueFull: there is no place, but a reservation `not_before` seconds from now or later.
            BreakerOpen: the cluster is not reachable.
            ClientGone: `watch` has told that the client disconnected meanwhile.
        """

    def enqueue(self, slot: UploadSlot, job: Job) -> JobHandle:
        """Queue a job that the store has accepted, or reopened, in exchange for its slot.

        Never waits, never refuses.
        """

    def find(self, job_id: str) -> JobHandle | None:
        """The job with this id if it is under way, else None."""

    def adopt(self, job: Job) -> JobHandle | None:
        """Watch a job whose record is not final and which `find` does not know.

        Returns None when nothing will be done about it: by no other process, and not after the start.
        """

    async def cancel(self, job_id: str) -> None:
        """Take the job out of the queue or stop it; return when nothing works on it any more."""

    def position(self, handle: JobHandle) -> tuple[int | None, float | None]:
        """The job's position in the queue, 1 being the next, and the estimated wait.

        Both are None when it does not wait. A job with deferred variants has no position, but a wait.
        """

    def check_receiving(self) -> None:
        """Check, while a body is read, that there is still time for it.

        Raises:
            Draining: the drain is nearly over.
        """

    @property
    def receiving_full(self) -> bool:
        """Whether every receiving slot is taken, so that a slow upload keeps others out."""

    def snapshot(self) -> EngineSnapshot:
        """The present state, read by statistics, health and metrics."""
