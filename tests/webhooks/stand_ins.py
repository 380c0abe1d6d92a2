"""A store and a receiver in memory, so that an outbox runs on a loop that never waits."""

import asyncio
from typing import Any

from app.backpressure.circuit_breaker import CircuitBreaker
from app.engine.outage_log import OutageLog
from app.job import Job, JobStatus, new_id
from app.webhooks.delivery import Answer, Delivery, SendFailed
from app.webhooks.events import Event, EventType
from app.webhooks.store_outbox import StoreOutbox

DAY = 86_400.0
START = 1_800_000_000.0
"""Seconds since the epoch at which tests begin."""


class MemoryEvents:
    """Kept events, as in a store."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.on_keep: list[OSError] = []
        self.on_forget: list[OSError] = []
        self.listed = 0

    async def keep(self, name: str, data: bytes) -> None:
        if self.on_keep:
            raise self.on_keep.pop()
        self.kept[name] = data

    async def read(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def forget(self, name: str) -> None:
        if self.on_forget:
            raise self.on_forget.pop()
        self.kept.pop(name, None)

    async def oldest(self, limit: int) -> tuple[list[tuple[float, str]], int]:
        self.listed += 1
        found = sorted((Event.from_bytes(data).at, name) for name, data in self.kept.items())
        return found[:limit], len(found)


class MemoryStore:
    """Records and kept events."""

    retention = DAY

    def __init__(self) -> None:
        self.events = MemoryEvents()
        self.records: dict[str, Job] = {}

    async def load(self, job_id: str) -> Job | None:
        return self.records.get(job_id)


class StandInReceiver:
    """Answers with the next of `answers`, and `usual` when there is none left; a text is no answer."""

    def __init__(self) -> None:
        self.answers: list[Answer | str] = []
        self.usual: Answer | str = Answer(204)
        self.posted: list[tuple[float, str]] = []
        """When (on the loop's clock) and the id of the event."""
        self.at_once = self.most_at_once = 0
        self.takes_s = 0.0

    async def post(self, event_id: str, _: str) -> Answer:
        self.posted.append((asyncio.get_running_loop().time(), event_id))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else self.usual
        if isinstance(answer, str):
            raise SendFailed(answer)
        return answer

    async def close(self) -> None:
        """Nothing is open."""


class Setting:
    """An outbox, its store and its receiver, on the clock of the running loop."""

    def __init__(self, max_indexed: int = 1000) -> None:
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        self.now = lambda: START + loop.time() - self.began
        self.store = MemoryStore()
        self.receiver = StandInReceiver()
        self.max_indexed = max_indexed
        self.restart()

    def restart(self) -> None:
        """An outbox of a new process, not started."""
        loop = asyncio.get_running_loop()
        breaker = CircuitBreaker("webhook", clock=loop.time, call_timeout_s=30)
        breaker.on_state_change = OutageLog(loop.time)
        store: Any = self.store
        self.delivery = Delivery(store, self.receiver, breaker, lambda job: {"id": job.id}, self.now)
        self.outbox = StoreOutbox(store, self.delivery, EventType, loop.time, self.max_indexed)

    def done(self) -> Job:
        """A job that is done, in the store."""
        now = self.now()
        job = Job(new_id(), now - 1, 10, (), JobStatus.DONE, finished_at=now, completed_at=now)
        self.store.records[job.id] = job
        return job

    async def happen(self, kind: EventType = EventType.DONE) -> Event:
        """An event that is true and kept."""
        job = self.done()
        event = Event(kind, job.id, job.created_at, self.now(), job if kind.is_removal else None)
        async with self.outbox.announcing([event]):
            if kind.is_removal:
                del self.store.records[job.id]
        return event

    def tries(self, event: Event) -> list[float]:
        """Seconds from the begin at which an event was posted."""
        return [round(at - self.began, 3) for at, event_id in self.receiver.posted if event_id == event.id]
