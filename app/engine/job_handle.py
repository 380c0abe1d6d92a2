"""Live jobs: those under way in this process, and whoever watches them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.engine.worker_pool import Worker
from app.job import Job, JobStatus


@dataclass(slots=True, eq=False)
class JobHandle:
    """A job that is not final, with the client whose share it counts against.

    `decided` is set once it is done, failed or cancelled, `ended` once nothing of it will change any more.
    """

    job: Job
    client: str
    worker: Worker | None = None
    accepted_at: float = 0.0
    cancelled: bool = False
    client_left: bool = False
    """Whether its client went away before anything was promised to it."""
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    _events: list[tuple[str, str]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if self.job.status.is_terminal:  # taken up after a restart, with variants put off
            self.decided.set()

    def publish(self, event: str, event_id: str | None = None) -> None:
        """Tell every watcher; `event` is the job's status, whose id is the state's, or `variant`."""
        self._events.append((event, event_id or self.job.state_id))
        self._changed.set()
        self._changed = asyncio.Event()
        if self.job.status.is_terminal:
            self.decided.set()
        if self.job.is_final:
            self.finished.set()

    def set_status(self, status: JobStatus) -> None:
        """Change the status and tell every watcher."""
        self.job.status = status
        self.publish(status)

    async def events(self, refresh_s: float) -> AsyncIterator[tuple[str, str] | None]:
        """Every event from now on as (name, state id), beginning with the present status; then the end.

        None stands for `refresh_s` seconds in which nothing happened.
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
