"""A store that an earlier version wrote, with jobs waiting, deferred and done, opens and finishes.

`data/` holds three stores of the version before the packages of `app`, each with nine jobs: one failed, the
others done, done with variants deferred, or queued. One worker made them under a brownout.

    killed.tar.gz    a directory after kill -9, with half an upload in `spool` and a workspace in `work`
    stopped.tar.gz   a directory after SIGTERM and a short drain, with the state that a stop saves
    bucket.tar.gz    the objects of a bucket after the same stop

`expected.json` in each has what its client was told: the delete token of every job, and the Idempotency-Key
of one that is queued.
"""

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from app.job import Job, JobStatus
from tests.service import Service, serving, until
from tests.storage.servers import S3Server

DATA = Path(__file__).with_name("data")
SETTINGS = {
    "variants": "medium=320,small=160,thumb=48",
    "retention": 3e9,
    "rate": 1000,
    "burst": 1000,
}


@dataclass(frozen=True)
class Earlier:
    """What an earlier version left, and the service that opened it."""

    service: Service
    jobs: dict[str, Job]
    uploads: dict[str, bytes]
    """The uploads of the jobs that are not final, by id."""
    expected: dict[str, Any]


def read(folder: Path, records: str, uploads: str) -> dict[str, Any]:
    """The jobs of an unpacked store, by the patterns of their records and uploads."""
    jobs = [Job.from_record(path.read_bytes()) for path in folder.glob(records)]
    return {
        "jobs": {job.id: job for job in jobs},
        "uploads": {
            job.id: path.read_bytes() for job in jobs for path in folder.glob(uploads.format(id=job.id))
        },
        "expected": json.loads((folder / "expected.json").read_text()),
    }


def unpack(name: str, folder: Path) -> None:
    """Unpack one of the stores into a folder."""
    with tarfile.open(DATA / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")


@contextmanager
def opened(name: str, folder: Path) -> Iterator[Earlier]:
    """A service on a copy of one of the directories."""
    unpack(name, folder)
    found = read(folder, "data/images/*/*/job.json", "data/images/*/{id}/source")
    with serving(folder, **SETTINGS) as service:
        yield Earlier(service, **found)


@contextmanager
def opened_bucket(folder: Path, server: S3Server, bucket: str) -> Iterator[Earlier]:
    """A service on a bucket with the same objects."""
    unpack("bucket", folder)
    client = server.client()
    for path in (folder / "bucket").rglob("*"):
        if path.is_file():
            key = f"photos/{path.relative_to(folder / 'bucket')}"
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    found = read(folder, "bucket/records/*.json", "bucket/sources/{id}")
    with serving(folder, store_url=f"s3://{bucket}/photos", **SETTINGS) as service:
        yield Earlier(service, **found)


@pytest.fixture(params=["killed", "stopped", "bucket"])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Earlier]:
    """A service on each of the stores."""
    if request.param == "bucket":
        places = [request.getfixturevalue(name) for name in ("server", "bucket")]
        with opened_bucket(tmp_path, *places) as earlier:
            yield earlier
    else:
        with opened(request.param, tmp_path) as earlier:
            yield earlier


def made_whole(service: Service, job_id: str) -> Any:
    """The document of a job once every variant is made."""

    def done() -> Any:
        document = service.get(f"/v1/images/{job_id}").json()
        return document if document["status"] == "done" and not document["deferred"] else None

    return until(done, f"job {job_id} to be made whole")


def test_every_job_is_finished(earlier: Earlier) -> None:
    """What was queued or deferred is made; what was made is served as it was; what failed stays failed."""
    service, jobs = earlier.service, earlier.jobs
    states = {(str(job.status), bool(job.deferred)) for job in jobs.values()}
    assert states == {("queued", False), ("done", True), ("done", False), ("failed", False)}
    for job in jobs.values():
        if job.status == JobStatus.FAILED:
            document = service.get(f"/v1/images/{job.id}").json()
            assert (document["status"], document["problem"]["detail"]) == ("failed", job.problem[1])
            continue
        document = made_whole(service, job.id)
        assert "problem" not in document
        assert list(document["variants"]) == ["medium", "small", "thumb"]
        for name, variant in document["variants"].items():
            answer = service.get(variant["url"])
            digest = sha256(answer.body).hexdigest()
            assert (answer.status, answer.headers["etag"]) == (200, f'"{digest}"')
            if name in job.made:
                assert digest == job.made[name].digest
    stats = service.settled()
    assert stats["jobs"]["failed"] == 0


def test_delete_tokens_and_idempotency_keys_are_valid(earlier: Earlier) -> None:
    """Both are derived from the secret of the store."""
    service, key = earlier.service, earlier.expected["key"]
    fields = {"idempotency-key": f'"{key["key"]}"', "content-type": "image/png"}
    again = service.upload(earlier.uploads[key["id"]], address=key["client_address"], **fields)
    assert (again.status_code, again.json()["id"]) in [(202, key["id"]), (201, key["id"])]
    assert set(earlier.expected["tokens"]) == set(earlier.jobs)
    with service.client() as client:
        for job_id, token in earlier.expected["tokens"].items():
            fields = {"authorization": f"Bearer {token}"}
            assert client.delete(f"/v1/images/{job_id}", headers=fields).status_code == 204
            assert client.get(f"/v1/images/{job_id}").status_code == 404
    service.settled()
    assert service.stats()["store_bytes"] == 0


def test_the_state_of_the_last_stop_is_read(tmp_path: Path) -> None:
    """The client that was told when to return still has its reservation."""
    unpack("stopped", tmp_path / "before")
    state = json.loads((tmp_path / "before" / "data" / "note").read_text())
    assert len(state["turns"]["turns"]) == 1
    with opened("stopped", tmp_path) as earlier:
        stats = earlier.service.stats()
        assert not (earlier.service.store / "note").exists()
        assert stats["backlog"]["awaited"] == 1


def test_what_was_on_its_way_in_is_removed(tmp_path: Path) -> None:
    """The half upload and the workspace of a process that was killed are of no job."""
    with opened("killed", tmp_path) as earlier:
        earlier.service.settled()
        assert not [name for name in earlier.service.stored() if not name.startswith("images/")]
