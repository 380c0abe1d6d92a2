"""What docs/upgrading.md says about copies of a store is true: its commands are run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app import __version__
from app.job import Job, JobStatus, new_id
from tests.clocks import HandClock
from tests.service import Service, run, serving
from tests.storage.conftest import PREFIX, Open
from tests.storage.jobs import PHOTO, accepted, made, read
from tests.storage.servers import S3Server

PAGE = (Path(__file__).parents[2] / "docs/upgrading.md").read_text()
BACKUP, RESTORE, *_ = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
(MOVE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def shell(script: str, folder: Path, *interpreter: str) -> None:
    """Run commands in a folder, by bash or another interpreter."""
    subprocess.run([*(interpreter or ("bash", "-euc")), script], cwd=folder, check=True, timeout=60)


def restored(backup: Path, folder: Path, **settings: object) -> Service:
    """A service on what a backup holds."""
    folder.mkdir()
    backup.rename(folder / backup.name)
    shell(RESTORE, folder)
    return Service(folder, **settings)


def test_a_copy_of_one_moment_is_a_backup(tmp_path: Path) -> None:
    """What was done is served and can be deleted; what was running or queued is done after the restore."""
    (tmp_path / "before").mkdir()
    with serving(tmp_path / "before") as service:
        done = service.ended(service.upload().json()["id"]) | service.upload(PHOTO).json()
        document = service.ended(done["id"])
        thumb = service.get(document["variants"]["thumb"]["url"]).body
        with service.paused() as held:
            queued = service.upload()
            shell(BACKUP, service.folder)
    after = restored(service.folder / "spillway-backup.tar", tmp_path / "after")
    try:
        assert after.get(document["variants"]["thumb"]["url"]).body == thumb
        for answer in (*held, queued):
            assert after.ended(answer.json()["id"])["status"] == "done"
        with after.client() as client:
            fields = {"authorization": f"Bearer {done['delete_token']}"}
            assert client.delete(f"/v1/images/{done['id']}", headers=fields).status_code == 204
    finally:
        assert after.stop() == 0


def test_an_older_version_ends_with_the_line_that_the_page_shows(tmp_path: Path) -> None:
    """Status 2 and one line on standard error; nothing is changed."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/layout").write_text("2\n")
    (shown,) = re.findall(r"^spillway: the store data has layout .*$", PAGE, re.MULTILINE)
    shown = re.sub(r"version [\d.]+ reads", f"version {__version__} reads", shown)
    refused = run("serve", folder=tmp_path, port=0, workers=1)
    assert (refused.returncode, refused.stderr) == (2, f"{shown}\n")
    assert [path.name for path in (tmp_path / "data").iterdir() if path.name != "lock"] == ["layout"]


@pytest.mark.anyio
async def test_a_folder_becomes_a_bucket(
    open_local: Open, open_s3: Open, server: S3Server, bucket: str, tmp_path: Path, clock: HandClock
) -> None:
    """Images and originals are read from the bucket as they were; tokens stay good, and more can be made."""
    local = await open_local()
    jobs = []
    for original in (False, True):
        job = await accepted(local, job=Job(new_id(), clock(), len(PHOTO), ("thumb=96",), original=original))
        job.made.update(await made(local, job, thumb=PHOTO))
        job.status, job.finished_at, job.completed_at = JobStatus.DONE, clock(), clock()
        await local.save(job)
        jobs.append(job)
    await local.close()
    shell(MOVE, tmp_path, sys.executable, "-c")
    client = server.client()
    for path in (tmp_path / "bucket").rglob("*"):
        if path.is_file():
            key = f"{PREFIX}/{path.relative_to(tmp_path / 'bucket')}"
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    store = await open_s3()
    for job in jobs:
        moved = await store.load(job.id)
        assert moved.made == job.made
        assert await read(store, moved, "thumb") == PHOTO
        assert store.delete_token(job.id) == local.delete_token(job.id)
    original = await store.original(moved, (0, len(PHOTO) - 1))
    assert await original.read(0, len(PHOTO)) == PHOTO
    original.close()
    await store.sweep()
    assert await store.original(moved, (0, len(PHOTO) - 1)) is not None
