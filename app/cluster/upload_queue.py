"""The upload queue of one replica among many."""

from collections.abc import Callable

from app.backpressure.drain_rate import DrainRate
from app.backpressure.upload_queue import UploadQueue
from app.engine.job_handle import JobHandle


class SharedUploadQueue(UploadQueue[JobHandle]):
    """The uploads and waiting jobs of this replica, and how many the other replicas have.

    `take` is never called: a job leaves when a status says that some worker has begun it.
    """

    def __init__(
        self,
        capacity: int,
        max_receiving: int,
        client_share: int,
        drain_rate: DrainRate,
        *,
        max_wait_s: float,
        receiving_elsewhere: Callable[[], int],
    ) -> None:
        """`receiving_elsewhere` gives how many uploads the other replicas receive."""
        super().__init__(capacity, max_receiving, client_share, drain_rate, max_wait_s=max_wait_s)
        self.replicas = 1
        """Processes that take uploads. Each may promise only its part of the drain rate."""
        self._waiting_elsewhere: dict[str, JobHandle] = {}
        """Waiting jobs that other replicas accepted."""
        self._receiving_elsewhere = receiving_elsewhere
        self._cluster_full_since: float | None = None

    @property
    def waiting(self) -> int:
        """Jobs in the cluster's queue, and accepted ones on their way into it."""
        return super().waiting + len(self._waiting_elsewhere)

    @property
    def load(self) -> int:
        """Waiting jobs, and uploads that will soon be, of all replicas."""
        return super().load + self._receiving_elsewhere()

    @property
    def full_for(self) -> float:
        """Seconds for which the cluster's queue has been full, as seen by `observe`."""
        return 0.0 if self._cluster_full_since is None else self._clock() - self._cluster_full_since

    @property
    def uploads_per_s(self) -> float:
        """Uploads per second to which this replica may promise a place."""
        return self.drain_rate.uploads_per_s / self.replicas

    def add_elsewhere(self, handle: JobHandle) -> None:
        """Count a waiting job of another replica."""
        self._waiting_elsewhere[handle.job.id] = handle

    def discard(self, handle: JobHandle) -> None:
        """Remove a job that does not wait any more. Harmless for one that is not here."""
        if self._waiting_elsewhere.pop(handle.job.id, None) is None:
            self.remove(handle)
        else:
            self._advance()

    def observe(self) -> None:
        """Note whether the cluster's queue is full, and admit uploads to slots that other replicas freed."""
        if self.waiting < self.capacity:
            self._cluster_full_since = None
        elif self._cluster_full_since is None:
            self._cluster_full_since = self._clock()
        self._notify_free_slot()
