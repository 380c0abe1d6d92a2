"""The engine: limiter, backlog and job status. A protocol, so that one machine and many look alike."""

from dataclasses import dataclass
from typing import NoReturn, Protocol

from app.backpressure.brownout import BrownoutSnapshot
from app.backpressure.circuit_breaker import BreakerSnapshot
from app.backpressure.rate_limiter import Grant, LimiterSnapshot
from app.backpressure.reservations import Requester, ReservationsSnapshot
from app.backpressure.token_bucket import Quota
from app.backpressure.upload_queue import UploadQueueSnapshot
from app.backpressure.waiting_room import Watch
from app.engine.job_handle import JobHandle
from app.engine.worker_pool import WorkerSnapshot
from app.job import Job


class Draining(Exception):
    """Raised when the service is shutting down and takes nothing new."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the service is shutting down")
        self.retry_after = retry_after


class EngineUnusable(Exception):
    """Raised when the engine cannot be used from the start; its message is one clear line."""


@dataclass(slots=True)
class JobCounters:
    """What became of the uploads since the start."""

    accepted: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    deferred: int = 0


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The whole engine at one moment."""

    jobs: JobCounters
    limiter: LimiterSnapshot
    upload_queue: UploadQueueSnapshot
    reservations: ReservationsSnapshot
    workers: list[WorkerSnapshot]
    sandbox: dict[str, str]
    brownout: BrownoutSnapshot
    breakers: list[BreakerSnapshot]
    state: str
    full_for_s: float


class UploadSlot(Protocol):
    """A place in the dock that an upload holds until its job is offered."""

    def progress(self, share: float) -> None:
        """Tell how much of the upload has come, from 0 to 1."""

    def release(self) -> None:
        """Give it back; harmless after the job was offered and when called again."""


class Engine(Protocol):
    """What the web layer asks of an engine."""

    async def start(self) -> None:
        """Start the workers and feed them what an earlier run left undone."""

    async def drain(self, timeout: float) -> None:
        """Take nothing new; return when running jobs and uploads are finished, or after `timeout` seconds."""

    async def stop(self) -> None:
        """Stop at once; what is unfinished stays in the store."""

    async def acquire_token(self, client: str) -> Grant:
        """Take a token. Raises RateLimited."""

    def local_quota(self, client: str) -> Quota:
        """What the client has left, as far as this process knows, without spending."""

    async def remaining_quota(self, client: str) -> Quota:
        """What the client has left, wherever it spent, without spending."""

    def is_due(self, key: str) -> bool:
        """Whether this upload was refused, returns as it was told and so owes no token."""

    def waive_token(self, key: str) -> bool:
        """The same, once for each time that it was told."""

    def certainly_refuses(self, requester: Requester) -> bool:
        """Whether an upload that asked now would be refused, by a breaker, a drain or a full queue.

        False where there may be a slot for it, and where that, or whether the client has a token, cannot be
        told without waiting.
        """

    def acquire_local_token(self, client: str) -> Quota:
        """Take a token without waiting, of a client whose upload is certainly refused. Raises RateLimited."""

    def refuse(self, requester: Requester, not_before: float) -> NoReturn:
        """Refuse a slot at once, with a reservation for `not_before` seconds from now or later.

        Raises:
            QueueFull: always.
        """

    def check_share(self, client: str) -> None:
        """Raises ShareExceeded."""

    def check_open(self, requester: Requester, not_before: float) -> None:
        """Raises Draining, or BreakerOpen when the workers do not start or the store fails.

        Both tell the upload's turn after the opening, `not_before` seconds from now or later.
        """

    async def reserve(self, requester: Requester, not_before: float, watch: Watch) -> UploadSlot:
        """A place in the dock, after a moment at the door if need be.

        Raises:
            QueueFull: with the upload's turn, `not_before` seconds from now or later.
            ClientGone: `watch` told that the client went away from the door.
        """

    def enqueue(self, place: UploadSlot, job: Job) -> JobHandle:
        """Hand over a job that the store has accepted. Never waits and never refuses."""

    def find(self, job_id: str) -> JobHandle | None:
        """The job if it is under way."""

    def adopt(self, job: Job) -> JobHandle | None:
        """The live job of a record that is not final, if some other process may be at work on it."""

    async def cancel(self, job_id: str) -> None:
        """Take a job out of the queue or stop it; returns when nothing works on it any more."""

    def position(self, handle: JobHandle) -> tuple[int | None, float | None]:
        """The place in the queue, 1 the next, and the estimated wait in seconds; None when not waiting.

        A job with variants put off has no place, but a wait for these.
        """

    def check_receiving(self) -> None:
        """Raises Draining when an upload that is not whole by now is given up."""

    @property
    def receiving_full(self) -> bool:
        """Whether slow uploads are in the way of others."""

    def snapshot(self) -> EngineSnapshot:
        """The state now."""
