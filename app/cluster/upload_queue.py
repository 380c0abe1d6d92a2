"""The backlog as one replica of many sees it."""

from collections.abc import Callable

from app.backpressure.drain_rate import Pacer
from app.backpressure.upload_queue import Backlog
from app.engine.job_handle import Live


class SharedBacklog(Backlog[Live]):
    """This replica's uploads and waiting jobs, beside how many the others have.

    Nothing is taken from its belt: a job leaves it when it is heard that some worker has begun it.
    """

    def __init__(self, capacity: int, dock: int, share: int, pacer: Pacer, *, max_wait: float) -> None:
        super().__init__(capacity, dock, share, pacer, max_wait=max_wait)
        self.replicas = 1
        """How many processes serve, each of which may promise only its part of what drains."""
        self.elsewhere: dict[str, Live] = {}
        """Waiting jobs that other replicas accepted."""
        self.receiving_elsewhere: Callable[[], int] = lambda: 0
        self._all_full_since: float | None = None

    @property
    def waiting(self) -> int:
        """Jobs in the queue of all, and accepted ones on their way into it."""
        return super().waiting + len(self.elsewhere)

    @property
    def used(self) -> int:
        """Jobs that wait, and uploads that are soon to, wherever they come in."""
        return super().used + self.receiving_elsewhere()

    @property
    def full_for(self) -> float:
        """Seconds for which the queue of all has been full, when looked at."""
        return 0.0 if self._all_full_since is None else self._clock() - self._all_full_since

    @property
    def pace(self) -> float:
        """Uploads per second that this replica may promise a place to."""
        return self.pacer.pace / self.replicas

    def enter(self, live: Live) -> None:
        """Another replica's job waits."""
        self.elsewhere[live.job.id] = live

    def leave(self, live: Live) -> None:
        """A job waits no more; harmless for one that did not."""
        if self.elsewhere.pop(live.job.id, None) is None:
            self.remove(live)
        else:
            self._advance()

    def observe(self) -> None:
        """Look whether it is full, and let those at the door know of room that others have made."""
        if self.waiting < self.capacity:
            self._all_full_since = None
        elif self._all_full_since is None:
            self._all_full_since = self._clock()
        self.on_room()
