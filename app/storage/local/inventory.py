"""What a local store knows of all its jobs without looking at them: how it is found out, and kept in a file.

The inventory is derived from the folders of the jobs and never the truth about one of them. A start finds it
out by looking at every file, which takes a minute where there are a million. To spare the next start that, a
store that is closed writes its inventory into a file, and the next start removes that file as it reads it:
after a crash there is none. The file also tells when the folders around the jobs last changed (their ctime,
which no copy and no backup preserves). One that belongs to another state of the store is not believed.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from os import DirEntry, scandir
from pathlib import Path

from app.job import is_id
from app.storage.local.expiry_index import ExpiryIndex
from app.storage.spool import SOURCE

RECORD = "job.json"
_VERSION = 1

Stamp = Mapping[str, int]
"""The ctime, in ns, of each folder around the jobs."""


@dataclass(slots=True)
class Inventory:
    """The bytes kept, the jobs that may not be final, and those that were, by the time of their end."""

    used: int = 0
    unfinished: dict[str, float] = field(default_factory=dict)
    """When each was accepted, by its id."""
    expiry: ExpiryIndex = field(default_factory=ExpiryIndex)

    def to_bytes(self, stamp: Stamp, *, keeps_images: bool) -> bytes:
        """The inventory of a store in the state of `stamp`, for a file.

        `keeps_images` says that images are kept for good, so that `expiry` has failed jobs alone.
        """
        buckets = self.expiry.buckets()
        head = {
            "version": _VERSION,
            "stamp": dict(stamp),
            "keeps_images": keeps_images,
            "used": self.used,
            "unfinished": self.unfinished,
            "buckets": [(number, len(entries)) for number, entries in buckets],
        }
        body = b"\n".join((json.dumps(head).encode(), b"".join(entries for _, entries in buckets)))
        return hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    @classmethod
    def from_bytes(cls, data: bytes, stamp: Stamp, *, keeps_images: bool) -> "Inventory | None":
        """What `to_bytes()` wrote; None if it is damaged, or was written by a store in another state."""
        digest, _, body = data.partition(b"\n")
        if digest != hashlib.sha256(body).hexdigest().encode():
            return None
        first, _, entries = body.partition(b"\n")
        head = json.loads(first)
        if [head[name] for name in ("version", "stamp", "keeps_images")] != [_VERSION, stamp, keeps_images]:
            return None
        buckets, at = [], 0
        for number, length in head["buckets"]:
            buckets.append((number, entries[at : at + length]))
            at += length
        return cls(head["used"], head["unfinished"], ExpiryIndex(buckets))

    def newest_first(self) -> list[str]:
        """The ids of the unfinished jobs."""
        return sorted(self.unfinished, key=self.unfinished.__getitem__, reverse=True)

    def add(self, found: "ShardSurvey") -> None:
        """Add the jobs of one shard."""
        self.used += found.used
        self.unfinished.update(found.unfinished)
        for ended_at, job_id in found.ended:
            self.expiry.add(ended_at, job_id)


@dataclass(slots=True)
class ShardSurvey:
    """What is in the folders of the jobs whose ids begin alike."""

    used: int = 0
    """Bytes kept; records are not counted."""
    unfinished: dict[str, float] = field(default_factory=dict)
    """Jobs that have a source and so may not be final, by id, and when that was written."""
    ended: list[tuple[float, str]] = field(default_factory=list)
    """When the record of a job was written that may expire, and its id."""


def survey_shard(shard: Path, *, at_start: bool, keeps_images: bool) -> ShardSurvey:
    """Look at every file of a shard. Blocking.

    `at_start` also removes records that were being written when the process died: only jobs may be deleted
    then, and nothing else changes. Of images that are kept for good, jobs with variants never expire.

    Raises:
        OSError: it cannot be read.
    """
    found = ShardSurvey()
    for folder in _job_folders_in(shard):
        with suppress(FileNotFoundError, NotADirectoryError):
            _survey_job(folder, found, at_start=at_start, keeps_images=keeps_images)
    return found


def _survey_job(folder: DirEntry[str], found: ShardSurvey, *, at_start: bool, keeps_images: bool) -> None:
    written_at: float | None = None
    has_variants = False
    for entry in scandir(folder):
        if entry.name.endswith(".new"):
            if at_start:
                Path(entry.path).unlink(missing_ok=True)
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # a source whose job has just ended
            continue
        if entry.name == RECORD:
            written_at = status.st_mtime
            continue
        found.used += status.st_size
        if entry.name == SOURCE:
            found.unfinished[folder.name] = status.st_mtime
        else:
            has_variants = True
    if written_at is not None and not (keeps_images and has_variants):
        found.ended.append((written_at, folder.name))


def _job_folders_in(shard: Path) -> list[DirEntry[str]]:
    """The folders of the jobs in a shard; not as paths, which would take half of the time of a survey."""
    try:
        return [entry for entry in scandir(shard) if is_id(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
