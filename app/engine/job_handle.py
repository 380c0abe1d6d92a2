"""A job under way in this process, and those who watch it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.engine.worker_pool import Worker
from app.job import Job, JobStatus


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
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the job is done, failed or cancelled."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once nothing about the job will change any more."""
    _events: list[tuple[str, str]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by a new one, at each event."""

    def __post_init__(self) -> None:
        if self.job.status.is_terminal:  # resumed after a restart, with deferred variants to be made
            self.decided.set()

    def publish(self, event: str, event_id: str | None = None) -> None:
        """Tell every watcher of an event: a status of the job, or `variant`.

        Without an `event_id` the event has the id of the job's present state.
        """
        self._events.append((event, event_id or self.job.state_id))
        self._changed.set()
        self._changed = asyncio.Event()
        if self.job.status.is_terminal:
            self.decided.set()
        if self.job.is_final:
            self.finished.set()

    def set_status(self, status: JobStatus) -> None:
        """Change the job's status and tell every watcher."""
        self.job.status = status
        self.publish(status)

    async def events(self, refresh_s: float) -> AsyncIterator[tuple[str, str] | None]:
        """Yield every event from now on as (name, event id), the present status first, until the job ends.

        Yields None after each `refresh_s` seconds without an event.
        """
        seen = len(self._events)
        yield self.job.status, self.job.state_id
        while True:
            changed = self._changed
            while seen < len(self._events):
                seen += 1
                yield self._events[seen - 1]
            if self.finished.is_set():
                return
            try:
                async with asyncio.timeout(refresh_s):
                    await changed.wait()
            except TimeoutError:
                yield None
