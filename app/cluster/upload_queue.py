"""The backlog as one replica of many sees it."""

from collections.abc import Callable

from app.backpressure.drain_rate import DrainRate
from app.backpressure.upload_queue import UploadQueue
from app.engine.job_handle import JobHandle


class SharedUploadQueue(UploadQueue[JobHandle]):
    """This replica's uploads and waiting jobs, beside how many the others have.

    Nothing is taken from its belt: a job leaves it when it is heard that some worker has begun it.
    """

    def __init__(
        self, capacity: int, dock: int, share: int, drain_rate: DrainRate, *, max_wait: float
    ) -> None:
        super().__init__(capacity, dock, share, drain_rate, max_wait=max_wait)
        self.replicas = 1
        """How many processes serve, each of which may promise only its part of what drains."""
        self.elsewhere: dict[str, JobHandle] = {}
        """Waiting jobs that other replicas accepted."""
        self.receiving_elsewhere: Callable[[], int] = lambda: 0
        self._all_full_since: float | None = None

    @property
    def waiting(self) -> int:
        """Jobs in the queue of all, and accepted ones on their way into it."""
        return super().waiting + len(self.elsewhere)

    @property
    def load(self) -> int:
        """Jobs that wait, and uploads that are soon to, wherever they come in."""
        return super().load + self.receiving_elsewhere()

    @property
    def full_for(self) -> float:
        """Seconds for which the queue of all has been full, when looked at."""
        return 0.0 if self._all_full_since is None else self._clock() - self._all_full_since

    @property
    def uploads_per_s(self) -> float:
        """Uploads per second that this replica may promise a place to."""
        return self.drain_rate.uploads_per_s / self.replicas

    def add_elsewhere(self, handle: JobHandle) -> None:
        """Another replica's job waits."""
        self.elsewhere[handle.job.id] = handle

    def discard(self, handle: JobHandle) -> None:
        """A job waits no more; harmless for one that did not."""
        if self.elsewhere.pop(handle.job.id, None) is None:
            self.remove(handle)
        else:
            self._advance()

    def observe(self) -> None:
        """Look whether it is full, and let those at the door know of room that others have made."""
        if self.waiting < self.capacity:
            self._all_full_since = None
        elif self._all_full_since is None:
            self._all_full_since = self._clock()
        self.on_free_slot()
