"""What the engine of a cluster is made of, in groups."""

from dataclasses import dataclass

from app.backpressure.waiting_room import WaitingRoom
from app.cluster.event_stream import EventStream
from app.cluster.jetstream import JobStream
from app.cluster.job_registry import JobRegistry
from app.cluster.job_status import JobStatusStore
from app.cluster.leases import Leases
from app.cluster.rate_limiter import SharedRateLimiter
from app.cluster.upload_queue import SharedUploadQueue
from app.engine.base import CircuitBreakers
from app.engine.job_handle import JobHandle
from app.storage.interface import Store


@dataclass(frozen=True, slots=True)
class Guards:
    """What decides whether an upload is admitted."""

    limiter: SharedRateLimiter
    upload_queue: SharedUploadQueue
    waiting_room: WaitingRoom[JobHandle]
    leases: Leases
    breakers: CircuitBreakers


@dataclass(frozen=True, slots=True)
class JobTracking:
    """What a replica knows of the jobs of the cluster."""

    registry: JobRegistry
    status: JobStatusStore
    stream: JobStream
    store: Store
    outbox: EventStream
