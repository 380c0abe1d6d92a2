"""The files of a store as somebody sees and changes them who goes past the store."""

import os
from pathlib import Path
from typing import Protocol

from app.job import Job
from tests.storage.servers import S3Server


class StoreFiles(Protocol):
    """The files of a store in a directory or a bucket, by names from its root."""

    def record(self, job: Job) -> str:
        """The name of a job's record."""

    def source(self, job: Job) -> str:
        """The name of a job's upload."""

    def image(self, job: Job, file: str) -> str:
        """The name of a variant's file."""

    def names(self) -> list[str]:
        """Every file of a job, in order; not what a store has besides them."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file."""

    def get(self, name: str) -> bytes:
        """Read a file."""

    def remove(self, name: str) -> None:
        """Remove a file."""


def names_of(files: StoreFiles, *jobs: Job, source: bool = False, images: tuple[str, ...] = ()) -> list[str]:
    """The files that these jobs should have, in order."""
    names = []
    for job in jobs:
        names += [files.record(job), *(files.image(job, file) for file in images)]
        names += [files.source(job)] if source else []
    return sorted(names)


class DirectoryFiles:
    """Those of a store in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def record(self, job: Job) -> str:
        return self.image(job, "job.json")

    def source(self, job: Job) -> str:
        return self.image(job, "source")

    def image(self, job: Job, file: str) -> str:
        return f"images/{job.id[:2]}/{job.id}/{file}"

    def names(self) -> list[str]:
        found = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        names = (str(path.relative_to(self.root)) for path in found)
        return sorted(name for name in names if name not in ("layout", "lock", "secret"))

    def put(self, name: str, data: bytes) -> None:
        (self.root / name).write_bytes(data)

    def get(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def remove(self, name: str) -> None:
        (self.root / name).unlink()


class BucketFiles:
    """Those of a store in a bucket, through a client of another make."""

    def __init__(self, server: S3Server, bucket: str, prefix: str) -> None:
        self._client = server.client()
        self._bucket = bucket
        self._prefix = prefix

    def record(self, job: Job) -> str:
        return f"records/{job.id}.json"

    def source(self, job: Job) -> str:
        return f"sources/{job.id}" if job.upload is None else f"sources/{job.id}/{job.upload}"

    def image(self, job: Job, file: str) -> str:
        return f"images/{job.id}/{file}"

    def names(self) -> list[str]:
        listing = self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        names = [entry["Key"].removeprefix(f"{self._prefix}/") for entry in listing.get("Contents", [])]
        return sorted(name for name in names if name not in ("layout", "probe", "secret"))

    def put(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}", Body=data)

    def get(self, name: str) -> bytes:
        answer = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")
        content: bytes = answer["Body"].read()
        return content

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")
