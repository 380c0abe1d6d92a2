"""The events that webhooks tell of: their names, their ids, and whether one is true of a job's record."""

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum, auto

from app.job import Job, JobStatus

_MAX_DOUBT_S = 60.0
"""Seconds after which a removal that was announced, and did not take place, is not expected any more."""


class EventType(StrEnum):
    """What can happen to an image. Each happens at most once in a run of a job."""

    DONE = "image.done"
    """Its most needed variant is made; others may be deferred."""
    COMPLETED = "image.completed"
    """Nothing is deferred any more: at once with `DONE`, unless variants were deferred."""
    FAILED = "image.failed"
    DELETED = "image.deleted"
    """Its owner has removed it."""
    EXPIRED = "image.expired"
    """Its retention is over."""

    @property
    def is_removal(self) -> bool:
        """Whether the job's record is gone afterwards."""
        return self in (EventType.DELETED, EventType.EXPIRED)


class Standing(StrEnum):
    """Whether an event is to be told, by what the store says of its job."""

    TRUE = auto()
    NOT_YET = auto()
    """What it tells of is being written, or will be when the job is done again after a crash."""
    OVER = auto()
    """It is not true and will not be, or the image that it is about is gone."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one job. Times are seconds since the epoch.

    An event is kept before the record that makes it true is written, so that no crash comes between them;
    `standing()` tells whether that has happened.
    """

    type: EventType
    job_id: str
    created_at: float
    """When the job was accepted: a later job may have the same id."""
    at: float
    """When it happened."""
    removed: Job | None = None
    """The job as it last was, of a removal, after which there is no record."""
    reopened: int = 0
    """In which run of the job it happened: more variants may be asked for after it was completed."""

    @property
    def id(self) -> str:
        """Identifies the event to its receiver: the same for every try, and after a restart."""
        run = f"\0{self.reopened}" if self.reopened else ""
        name = f"{self.type}\0{self.job_id}\0{self.created_at!r}{run}"
        return f"msg_{hashlib.sha256(name.encode()).hexdigest()[:32]}"

    def standing(self, record: Job | None, now: float) -> Standing:
        """Whether the event is to be told, by the record of its job; None stands for a job that is gone."""
        if record is None or record.created_at != self.created_at:
            return Standing.TRUE if self.type.is_removal else Standing.OVER
        if self.type.is_removal:
            return Standing.NOT_YET if now - self.at < _MAX_DOUBT_S else Standing.OVER
        if self.type in events_of(record):
            return Standing.TRUE
        return Standing.OVER if record.is_final else Standing.NOT_YET

    def to_bytes(self) -> bytes:
        """The event as JSON, in the form in which it is kept."""
        data = {"type": self.type, "job": self.job_id, "created_at": self.created_at, "at": self.at}
        if self.reopened:
            data["reopened"] = self.reopened
        if self.removed is not None:
            data["removed"] = json.loads(self.removed.to_record())
        return json.dumps(data, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Event":
        """Read what `to_bytes()` wrote.

        Raises:
            ValueError: it is damaged.
        """
        try:
            fields = json.loads(data)
            kind = EventType(fields["type"])
            removed = Job.from_record(json.dumps(fields["removed"]).encode()) if kind.is_removal else None
            created_at, reopened = float(fields["created_at"]), int(fields.get("reopened", 0))
            return cls(kind, str(fields["job"]), created_at, float(fields["at"]), removed, reopened)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"damaged event: {error}") from None


def removal(kind: EventType, job: Job, now: float) -> Event:
    """The event that a job is removed, by its owner or because its retention is over.

    One that has not ended by then never will: it is cancelled.
    """
    status = job.status if job.status.is_terminal else JobStatus.CANCELLED
    return Event(kind, job.id, job.created_at, now, removed=replace(job, status=status))


def events_of(job: Job) -> frozenset[EventType]:
    """The events that a record is the proof of."""
    if job.status == JobStatus.FAILED:
        return frozenset({EventType.FAILED})
    if job.status != JobStatus.DONE:
        return frozenset()
    return frozenset({EventType.DONE} if job.deferred else {EventType.DONE, EventType.COMPLETED})


def changes(before: Job, after: Job, now: float) -> list[Event]:
    """The events that happen when the record `before` is replaced by `after`."""
    new = events_of(after) - events_of(before)
    run = after.reopened
    return [Event(kind, after.id, after.created_at, now, reopened=run) for kind in EventType if kind in new]
