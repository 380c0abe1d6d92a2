"""A job: what one accepted upload asks for, how far it has come, and its record in the store."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from workers.formats import EXTENSIONS

T = TypeVar("T")


class JobStatus(StrEnum):
    """The status of a job, as it stands in records, documents and events."""

    QUEUED = "queued"
    PROCESSING = "processing"
    DONE = "done"
    """At least its most needed variant is made; others may still be deferred."""
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether no further status can follow."""
        return self in (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)


ID_LENGTH = 32
"""Characters of a job's id."""
UPLOAD_LENGTH = 16
MAX_DEATHS = 2
"""Worker processes that may die on one job. After that many it is failed and not tried again."""
_LATER_FIELDS = (
    *("upload", "completed_at", "digest", "name", "reference"),
    *("ticket_until", "repeat_id", "asked", "allowed", "trace"),
)
"""Fields that records have only where they are not None."""
WORKER_DIED = ("worker-died", "The process that worked on it died twice.")
"""The problem (slug and detail) of a job that has reached `MAX_DEATHS`."""


def new_upload() -> str:
    """A name for an upload, different from those of all others with the same id."""
    return secrets.token_hex(UPLOAD_LENGTH // 2)


def is_upload(text: str) -> bool:
    """Whether `new_upload` could have made this; nothing else ever reaches a path."""
    return len(text) == UPLOAD_LENGTH and all(c in "0123456789abcdef" for c in text)


def new_id() -> str:
    """A new job id: 128 random bits in hexadecimal, so that nobody can guess the address of an image."""
    return secrets.token_hex(ID_LENGTH // 2)


def id_of_key(secret: bytes, client: str, key: str) -> str:
    """The job id that belongs to a client's Idempotency-Key: an HMAC, unguessable without `secret`."""
    return hmac.new(secret, f"key\0{client}\0{key}".encode(), hashlib.sha256).hexdigest()[:ID_LENGTH]


def is_id(text: str) -> bool:
    """Whether `text` has the form of a job id. Only such text may become part of a path or object name."""
    return len(text) == ID_LENGTH and all(c in "0123456789abcdef" for c in text)


@dataclass(frozen=True, slots=True)
class MadeVariant:
    """One variant that has been made.

    `file` is its name in the job's folder, sizes are in pixels and bytes, `digest` is a hexadecimal SHA-256.
    """

    file: str
    width: int
    height: int
    size: int
    format: str
    digest: str
    provisional: bool = False
    """Whether it was made of the thumbnail embedded in the upload, and the true one is deferred."""

    def file_name(self, name: str) -> str:
        """What a file of it is best called, where `name` is that of the variant."""
        return f"{name}.{EXTENSIONS[self.format]}"


def stand_in_file(name: str, format_: str) -> str:
    """The file of a provisional variant: never that of a true one, so that either has its own digest."""
    return f"{name}.provisional.{EXTENSIONS[format_]}"


@dataclass(slots=True)
class Job:
    """One accepted upload and what has been made of it. Times are seconds since the epoch.

    `size` is the size of the upload in bytes. `wanted` holds the specifications of the variants to make; when
    it is empty, the variants of the settings are made. During a brownout a job becomes `done` with its most
    needed variant, and `deferred` names those that are made later; that one too, if it is provisional.
    `finished_at` is set when the status becomes terminal, `completed_at` when the record becomes final.

    The fields, in this order, are the record that `to_record()` writes. A new field needs a default in
    `from_record()`, because stores hold records of earlier versions.
    """

    id: str
    created_at: float
    size: int
    wanted: tuple[str, ...]
    status: JobStatus = JobStatus.QUEUED
    finished_at: float | None = None
    source: dict[str, Any] | None = None
    """Format, width and height of the upload, once a worker has decoded it."""
    made: dict[str, MadeVariant] = field(default_factory=dict)
    """The finished variants by name."""
    deferred: tuple[str, ...] = ()
    blurhash: str | None = None
    problem: tuple[str, str] | None = None
    """Slug and detail of the problem that ended the job, or that its deferred variants met."""
    deaths: int = 0
    """How many worker processes have died while they worked on it, up to `MAX_DEATHS`."""
    fingerprint: str | None = None
    """Digest of names and content by which versions before `asked` recognise repeats; only read."""
    upload: str | None = None
    """Names the upload's object in a store where several uploads, of one Idempotency-Key, may have the id."""
    completed_at: float | None = None
    """None too in a final record of an earlier version, whose `finished_at` is this moment."""
    digest: str | None = None
    """SHA-256 of the upload in hexadecimal. None in the records of earlier versions and in damaged ones."""
    name: str | None = None
    """The upload's file name, as `app.uploads.file_name` reads it."""
    reference: str | None = None
    """What the client calls the upload; it means nothing here."""
    ticket_until: float | None = None
    """When the single-use ticket ends that the id belongs to, if it does; its upload was this job."""
    repeat_id: str | None = None
    """What the id would be by the upload's Idempotency-Key, where the id belongs to a single-use ticket."""
    allowed: tuple[str, ...] | None = None
    """Names of the variants that the ticket of the upload allows; None where it allows all."""
    asked: tuple[str, ...] | None = None
    """Names of the variants that an upload with an Idempotency-Key asked for, none for all; for repeats."""
    trace: str | None = None
    """The `traceparent` of the request that began this run, where it is traced."""
    original: bool = False
    """Whether the upload is to be kept when the job is done, by the settings when it was accepted."""
    reopened: int = 0
    """How often its owner has asked for more variants, made of the original, after it was final."""

    @property
    def is_final(self) -> bool:
        """Whether the record will not change any more: the status is terminal and nothing is deferred."""
        return self.status.is_terminal and not self.deferred

    @property
    def is_provisional(self) -> bool:
        """Whether a variant is provisional."""
        return any(made.provisional for made in self.made.values())

    def has(self, variant: str) -> bool:
        """Whether the true variant of this name is made."""
        return variant in self.made and not self.made[variant].provisional

    @property
    def replaced_files(self) -> list[str]:
        """Files of provisional variants that may still be there though true ones have replaced them."""
        return [stand_in_file(name, made.format) for name, made in self.made.items() if self.has(name)]

    @property
    def keeps_original(self) -> bool:
        """Whether its upload is kept: while and after it is made into variants, and not of a failed job."""
        return self.original and self.status == JobStatus.DONE

    @property
    def run(self) -> tuple[float, int]:
        """Identifies one run of a job, from its acceptance, or its being reopened, to a final record.

        A later job of the same id, and a later run of the same job, have others.
        """
        return self.created_at, self.reopened

    @property
    def state_id(self) -> str:
        """Identifies the job's present state, the same after a restart; the id of the event that tells it."""
        deferred = f".{len(self.deferred)}" if self.deferred else ""
        return f"{self.status}.{len(self.made)}{deferred}"

    def mark_finished(self, now: float) -> None:
        """Date a terminal status. What is there stays: deferred variants change `completed_at` alone."""
        if self.finished_at is None:
            self.finished_at = now
        if not self.deferred:
            self.completed_at = now

    def to_record(self) -> bytes:
        """The job as JSON, in the form in which stores keep it."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}  # asdict() is slow
        fields["made"] = {
            name: {each: getattr(made, each) for each in made.__slots__} for name, made in self.made.items()
        }
        for name in _LATER_FIELDS:
            if fields[name] is None:
                del fields[name]
        for name in ("original", "reopened"):
            if not fields[name]:
                del fields[name]
        for made in fields["made"].values():
            if not made["provisional"]:
                del made["provisional"]
        return json.dumps({"version": 1, **fields}, separators=(",", ":")).encode()

    @classmethod
    def from_record(cls, record: bytes) -> "Job":
        """Read what `to_record()` wrote, of this version or an earlier one.

        Every field is checked here, so that a damaged record is found when it is read and not later.

        Raises:
            ValueError: the record is damaged or of an unknown version.
        """
        try:
            data = json.loads(record)
            if data["version"] != 1 or not is_id(data["id"]):
                raise ValueError("unknown record")
            job = cls(
                id=data["id"],
                created_at=float(data["created_at"]),
                size=int(data["size"]),
                wanted=_names(data["wanted"]),
                status=JobStatus(data["status"]),
                finished_at=_optional(data, "finished_at", float),
                source=_optional(data, "source", _source),
                made={name: _variant(made) for name, made in data["made"].items()},
                deferred=_names(data["deferred"]),
                blurhash=_optional(data, "blurhash", str),
                problem=_optional(data, "problem", _problem),
                deaths=int(data.get("deaths", 0)),
                fingerprint=_optional(data, "fingerprint", str),
                upload=_optional(data, "upload", _upload),
                completed_at=_optional(data, "completed_at", float),
                digest=_optional(data, "digest", str),
                name=_optional(data, "name", str),
                reference=_optional(data, "reference", str),
                ticket_until=_optional(data, "ticket_until", float),
                repeat_id=_optional(data, "repeat_id", str),
                allowed=_optional(data, "allowed", _names),
                asked=_optional(data, "asked", _names),
                trace=_optional(data, "trace", str),
                original=bool(data.get("original", False)),
                reopened=int(data.get("reopened", 0)),
            )
            for seconds in (job.created_at, job.finished_at or 0, job.completed_at or 0):
                datetime.fromtimestamp(seconds, UTC)  # a time that no calendar has could not be shown
        except (KeyError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError) as error:
            raise ValueError(f"damaged record: {error}") from None
        return job


def _optional(data: dict[str, Any], name: str, read: Callable[[Any], T]) -> T | None:
    """A field that may be null, or missing where an earlier version wrote the record."""
    value = data.get(name)
    return None if value is None else read(value)


def _names(data: Any) -> tuple[str, ...]:
    return tuple(map(str, data))


def _upload(data: Any) -> str:
    if not is_upload(data):
        raise ValueError(f"not the name of an upload: {data!r:.40}")
    return str(data)


def _source(data: Any) -> dict[str, Any]:
    return {"format": str(data["format"]), "width": int(data["width"]), "height": int(data["height"])}


def _variant(data: Any) -> MadeVariant:
    if data["format"] not in EXTENSIONS:
        raise ValueError(f"unknown format {data['format']!r:.40}")
    return MadeVariant(
        file=str(data["file"]),
        width=int(data["width"]),
        height=int(data["height"]),
        size=int(data["size"]),
        format=data["format"],
        digest=str(data["digest"]),
        provisional=bool(data.get("provisional", False)),
    )


def _problem(data: Any) -> tuple[str, str]:
    slug, detail = data
    return str(slug), str(detail)
