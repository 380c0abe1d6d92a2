"""A job under way in this process, and those who watch it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from app.engine.worker_pool import Worker
from app.job import Job, JobStatus
from app.runtime.wakeups import Wakeups


@dataclass(slots=True, eq=False)
class JobHandle:
    """A job that is not final yet, and the client whose share it counts against."""

    job: Job
    client: str
    worker: Worker | None = None
    """The worker that is on it now."""
    accepted_at: float = 0.0
    """Seconds on the monotonic clock; 0 when another run or another process accepted it."""
    cancelled: bool = False
    """Whether it is to be stopped, which may take a moment."""
    client_left: bool = False
    """Whether its client disconnected before it was told that the job is accepted."""
    is_decided: bool = False
    """Whether watchers were told that the job is done, failed or cancelled."""
    is_finished: bool = False
    """Whether watchers were told that nothing about the job will change any more."""
    _events: list[tuple[str, str]] = field(default_factory=list)
    # An asyncio.Event takes as much memory as all else here: each is made when somebody waits for it.
    _decided: asyncio.Event | None = None
    _finished: asyncio.Event | None = None
    _watchers: dict[asyncio.Future[bool], None] | None = None
    """One for each watcher that waits; True, and dropped, at the next event."""

    def __post_init__(self) -> None:
        # A job that was resumed after a restart may be done already, with deferred variants to be made.
        self.is_decided = self.job.status.is_terminal

    @property
    def waited_s(self) -> float:
        """Seconds since it was accepted, by its record where that was done by another run or process."""
        if self.accepted_at:
            return time.monotonic() - self.accepted_at
        return max(0.0, time.time() - self.job.created_at)

    @property
    def decided(self) -> asyncio.Event:
        """Set once `is_decided`."""
        if self._decided is None:
            self._decided = _event(self.is_decided)
        return self._decided

    @property
    def finished(self) -> asyncio.Event:
        """Set once `is_finished`."""
        if self._finished is None:
            self._finished = _event(self.is_finished)
        return self._finished

    def publish(self, event: str, event_id: str | None = None) -> None:
        """Tell every watcher of an event: a status of the job, or `variant`.

        Without an `event_id` the event has the id of the job's present state.
        """
        self._events.append((event, event_id or self.job.state_id))
        self.is_decided = self.is_decided or self.job.status.is_terminal
        self.is_finished = self.is_finished or self.job.is_final
        for awaited, has_come in ((self._decided, self.is_decided), (self._finished, self.is_finished)):
            if awaited is not None and has_come:
                awaited.set()
        for watcher in self._watchers or ():
            if not watcher.done():
                watcher.set_result(True)
        self._watchers = None

    def set_status(self, status: JobStatus) -> None:
        """Change the job's status and tell every watcher."""
        self.job.status = status
        self.publish(status)

    async def events(
        self, refresh_s: Callable[[], float], wakeups: Wakeups | None = None
    ) -> AsyncIterator[tuple[str, str] | None]:
        """Yield every event from now on as (name, event id), the present status first, until the job ends.

        Yields None after each `refresh_s()` seconds without an event, when it is the turn of this watcher
        among those that have the same `wakeups`.
        """
        wakeups = wakeups or Wakeups()
        seen = len(self._events)
        yield self.job.status, self.job.state_id
        while True:
            while seen < len(self._events):
                seen += 1
                yield self._events[seen - 1]
            if self.is_finished:
                return
            if not await self._changes_within(refresh_s(), wakeups):
                yield None

    async def _changes_within(self, seconds: float, wakeups: Wakeups) -> bool:
        """Wait for the next event; False if there is none in that time."""
        watcher: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watcher] = None
        try:
            return await wakeups.wait(watcher, seconds)
        finally:
            if self._watchers is not None:
                self._watchers.pop(watcher, None)


def _event(is_set: bool) -> asyncio.Event:
    event = asyncio.Event()
    if is_set:
        event.set()
    return event
