"""A job: one upload's work, and its record on disk."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from workers.formats import EXTENSIONS

QUEUED, PROCESSING, DONE, FAILED, CANCELLED = "queued", "processing", "done", "failed", "cancelled"
STATUSES = frozenset({QUEUED, PROCESSING, DONE, FAILED, CANCELLED})
FINAL = frozenset({DONE, FAILED, CANCELLED})
ID_LENGTH = 32
MOST_DEATHS = 2
"""Workers that one job may end: what ended as many is failed, untried."""
DEADLY = ("worker-died", "The process that worked on it died twice.")
"""The problem of such a job."""


def new_id() -> str:
    """An unguessable id: 128 random bits in hexadecimal."""
    return secrets.token_hex(ID_LENGTH // 2)


def id_of_key(secret: bytes, client: str, key: str) -> str:
    """The id of the one job that a client's Idempotency-Key stands for: as unguessable as the secret."""
    return hmac.new(secret, f"key\0{client}\0{key}".encode(), hashlib.sha256).hexdigest()[:ID_LENGTH]


def is_id(text: str) -> bool:
    """Whether this could be an id; nothing else ever reaches a path."""
    return len(text) == ID_LENGTH and all(c in "0123456789abcdef" for c in text)


@dataclass(frozen=True, slots=True)
class MadeVariant:
    """One finished output: its file in the job's folder, pixels, `size` in bytes, format, SHA-256 digest."""

    file: str
    width: int
    height: int
    size: int
    format: str
    digest: str


@dataclass(slots=True)
class Job:
    """One upload's work. Times are seconds since the epoch, `size` is the upload's, in bytes.

    `wanted` are variant specifications; none of them means all that the settings name. The job is done when
    its most needed variant is there, and final when none is `deferred`; `finished_at` is the later of both.
    """

    id: str
    created_at: float
    size: int
    wanted: tuple[str, ...]
    status: str = QUEUED
    finished_at: float | None = None
    source: dict[str, Any] | None = None
    made: dict[str, MadeVariant] = field(default_factory=dict)
    deferred: tuple[str, ...] = ()
    blurhash: str | None = None
    problem: tuple[str, str] | None = None
    """Slug and detail of what went wrong."""
    deaths: int = 0
    """Workers that died of it so far, or seemed to: what is left of it is not tried for ever."""
    fingerprint: str | None = None
    """Of the upload, where it came with an Idempotency-Key: what its repeats are compared with."""

    @property
    def is_final(self) -> bool:
        """Whether nothing about this job will change any more."""
        return self.status in FINAL and not self.deferred

    @property
    def state_id(self) -> str:
        """Names this state of the job, the same after a restart: the id of its event."""
        promised = f".{len(self.deferred)}" if self.deferred else ""
        return f"{self.status}.{len(self.made)}{promised}"

    def stored_bytes(self) -> int:
        """Bytes of its files on disk, the record aside."""
        source = 0 if self.is_final else self.size
        return source + sum(variant.size for variant in self.made.values())

    def to_record(self) -> bytes:
        """The record as it is kept on disk."""
        return json.dumps(
            {
                "version": 1,
                "id": self.id,
                "created_at": self.created_at,
                "size": self.size,
                "wanted": self.wanted,
                "status": self.status,
                "finished_at": self.finished_at,
                "source": self.source,
                "made": {
                    name: {
                        "file": made.file,
                        "width": made.width,
                        "height": made.height,
                        "size": made.size,
                        "format": made.format,
                        "digest": made.digest,
                    }
                    for name, made in self.made.items()
                },
                "deferred": self.deferred,
                "blurhash": self.blurhash,
                "problem": self.problem,
                "deaths": self.deaths,
                "fingerprint": self.fingerprint,
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_record(cls, record: bytes) -> "Job":
        """Read a record back.

        Raises:
            ValueError: the record is damaged.
        """
        try:
            data = json.loads(record)
            if data["version"] != 1 or not is_id(data["id"]):
                raise ValueError("unknown record")
            job = cls(
                id=data["id"],
                created_at=float(data["created_at"]),
                size=int(data["size"]),
                wanted=tuple(map(str, data["wanted"])),
                status=_known(data["status"], STATUSES),
                finished_at=None if data["finished_at"] is None else float(data["finished_at"]),
                source=None if data["source"] is None else _source(data["source"]),
                made={name: _variant(made) for name, made in data["made"].items()},
                deferred=tuple(map(str, data["deferred"])),
                blurhash=None if data.get("blurhash") is None else str(data["blurhash"]),
                problem=None if data["problem"] is None else _problem(*data["problem"]),
                deaths=int(data.get("deaths", 0)),
                fingerprint=None if data.get("fingerprint") is None else str(data["fingerprint"]),
            )
            for seconds in (job.created_at, job.finished_at or 0):
                datetime.fromtimestamp(seconds, UTC)
        except (KeyError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError) as error:
            raise ValueError(f"damaged record: {error}") from None
        return job


# --- what a record holds, type by type: a damaged one is found when it is read, not when it is used -------


def _known(word: Any, words: Iterable[str]) -> str:
    if word not in words:
        raise ValueError(f"unknown word {word!r:.40}")
    return str(word)


def _source(data: Any) -> dict[str, Any]:
    return {"format": str(data["format"]), "width": int(data["width"]), "height": int(data["height"])}


def _variant(data: Any) -> MadeVariant:
    return MadeVariant(
        file=str(data["file"]),
        width=int(data["width"]),
        height=int(data["height"]),
        size=int(data["size"]),
        format=_known(data["format"], EXTENSIONS),
        digest=str(data["digest"]),
    )


def _problem(slug: Any, detail: Any) -> tuple[str, str]:
    return str(slug), str(detail)
