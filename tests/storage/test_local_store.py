"""What the store in a directory does besides `test_every_store.py`: locks, crashes, full and foreign disks.

A crash is made by leaving the files as it would leave them.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.job import Job, new_id
from app.storage.interface import StoreFull, StoreUnusable
from app.storage.local.store import LocalStore
from tests.clocks import HandClock
from tests.storage.conftest import Open
from tests.storage.jobs import DAY, PHOTO, accepted, finished, job_of, made, pending, spooled, used

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(open_local: Open) -> LocalStore:
    """An open store in a directory, empty."""
    opened: LocalStore = await open_local()
    return opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of the store."""
    return tmp_path / "data"


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may not write; if it is root, it acts as another user meanwhile."""
    tmp_path.chmod(0o500)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield tmp_path / "data"
    finally:
        if superuser:
            os.seteuid(0)
        tmp_path.chmod(0o700)


def home(store: LocalStore, job: Job) -> Path:
    """The folder of an accepted job."""
    return store.folders.home(job.id)


def files(root: Path) -> list[str]:
    """Every file below a folder, by its path from there."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def crash(store: LocalStore) -> None:
    """The process that has the store dies: the lock is released, and nothing is written."""
    store.directory.close()


@contextmanager
def room_for_files_of(size: int) -> Iterator[None]:
    """A limit on the size of files, which any machine has and which fails writes as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- accepting ------------------------------------------------------------------------------------------


async def test_a_crash_before_the_acceptance_leaves_no_job(open_local: Open, root: Path) -> None:
    """An upload that was on its way in when the server died is removed at the next start."""
    before = await open_local()
    half = job_of(PHOTO)
    await spooled(before, half, bytes(1_000_000))
    # A crash between the record and the rename: everything is written, but in the spool.
    ready = job_of(PHOTO)
    folder = root / "spool" / ready.id
    folder.mkdir()
    (folder / "source").write_bytes(PHOTO)
    (folder / "job.json").write_bytes(ready.to_record())
    await before.workspace(half.id)
    await before.close()
    after = await open_local()
    assert await pending(after) == []
    assert await after.load(half.id) is None
    assert await after.load(ready.id) is None
    assert files(root) == ["layout", "lock", "secret"]
    assert used(after) == 0


@pytest.mark.parametrize("step", ["write", "accept"])
async def test_an_upload_that_the_disk_has_no_room_for_is_refused(
    store: LocalStore, root: Path, step: str
) -> None:
    """As guard 6 would have refused it, whenever the room ends; discarding it leaves nothing behind."""
    job = job_of(PHOTO)
    spool = await store.spool(job.id)
    with room_for_files_of(100_000):
        if step == "accept":
            await spool.write(bytes(100_001))
        with pytest.raises(StoreFull, match="File too large"):
            await (spool.write(bytes(1_000_000)) if step == "write" else store.accept(spool, job))
        await spool.discard()
    assert list((root / "spool").iterdir()) == []
    assert await store.load(job.id) is None
    assert used(store) == 0


# --- after a restart ------------------------------------------------------------------------------------


async def test_unfinished_jobs_come_back_oldest_first(open_local: Open) -> None:
    """A start gets every accepted job that is not final once, in the order in which they were accepted."""
    before = await open_local()
    jobs = [await accepted(before, job=job_of(PHOTO, created_at=1000.0 + n)) for n in range(5)]
    upload = [jobs[index] for index in (3, 0, 4, 1, 2)]
    for seconds, job in enumerate(upload):
        os.utime(before.folders.source(job.id), (seconds, seconds))
    done = await finished(before)
    crash(before)
    after = await open_local()
    assert [job.id for job in await pending(after)] == [job.id for job in upload]
    assert await pending(after) == []
    assert done.id not in [job.id for job in upload]


async def test_a_half_written_record_is_removed(open_local: Open) -> None:
    """The process died before it could rename it to `job.json`."""
    before = await open_local()
    job = await accepted(before)
    (home(before, job) / "job.json.new").write_bytes(b"{")
    crash(before)
    after = await open_local()
    assert used(after) == len(PHOTO)
    assert files(home(after, job)) == ["job.json", "source"]


async def test_a_job_without_its_record_is_made_whole(open_local: Open) -> None:
    """It was accepted when its upload was written."""
    before = await open_local()
    job = await accepted(before)
    (home(before, job) / "job.json").unlink()
    os.utime(before.folders.source(job.id), (1234, 1234))
    await before.close()
    (again,) = await pending(await open_local())
    assert (again.id, again.size, again.wanted, again.created_at) == (job.id, len(PHOTO), (), 1234)


async def test_secret_and_state_are_private(store: LocalStore, open_local: Open, tmp_path: Path) -> None:
    """Nobody but the service's own user can read them, and another directory has another secret."""
    await store.save_state(b"state")
    modes = [(store.directory.root / name).stat().st_mode & 0o777 for name in ("secret", "note")]
    assert modes == [0o600, 0o600]
    job_id = new_id()
    other = await open_local(root=tmp_path / "elsewhere")
    assert store.delete_token(job_id) != other.delete_token(job_id)


async def test_a_state_that_cannot_be_read_is_none(store: LocalStore) -> None:
    """Whatever is in its place does not keep the service from starting."""
    (store.directory.root / "note").mkdir()
    assert await store.load_state() is None


# --- what a worker made ---------------------------------------------------------------------------------


async def test_an_open_variant_outlives_its_removal(store: LocalStore) -> None:
    """A deletion does not cut off a download that has begun."""
    job = await finished(store)
    blob = await store.blob(job, "thumb")
    assert blob is not None
    await store.delete(job.id)
    assert await blob.read(0, len(PHOTO)) == PHOTO
    blob.close()


# --- removal and expiry ---------------------------------------------------------------------------------


async def test_the_sweep_looks_into_every_record_that_is_old_enough(
    store: LocalStore, clock: HandClock
) -> None:
    """What it says counts, not when it was written: backups and copies may date files anew."""
    old = [await finished(store, clock.now - 10) for _ in range(3)]
    young = await finished(store, clock.now)
    waiting = await accepted(store)
    clock.advance(DAY - 5)
    for job in [*old, young, waiting]:
        os.utime(home(store, job) / "job.json", (clock.now - DAY, clock.now - DAY))
    assert await store.sweep() == 3
    assert not any(home(store, job).exists() for job in old)
    assert await store.load(young.id) == young
    assert await store.load(waiting.id) == waiting
    assert used(store) == 2 * len(PHOTO)
    assert await store.sweep() == 0


# --- space ----------------------------------------------------------------------------------------------


async def test_replaced_variants_are_counted_at_once(open_local: Open) -> None:
    """Those of an earlier attempt, in this process or before a crash, need not wait for a recount."""
    store = await open_local()
    job = await accepted(store)
    await made(store, job, thumb=PHOTO + bytes(1000))
    await made(store, job, thumb=PHOTO)
    assert used(store) == 2 * len(PHOTO)
    await store.close()
    again = await open_local()
    assert used(again) == 2 * len(PHOTO)
    await made(again, job, thumb=PHOTO + bytes(10))
    assert used(again) == 2 * len(PHOTO) + 10
    await again.delete(job.id)
    assert used(again) == 0


# --- a store that cannot be used ------------------------------------------------------------------------


async def test_a_second_server_on_one_directory_is_refused(open_local: Open, root: Path) -> None:
    """The first holds the lock until it closes, and what it has under way is not touched."""
    first = await open_local()
    job = job_of(PHOTO)
    await spooled(first, job, bytes(1_000_000))
    with pytest.raises(StoreUnusable, match="in use by another server") as refusal:
        await open_local()
    assert "\n" not in str(refusal.value)
    assert (root / "spool" / job.id / "source").exists()
    await first.close()
    await open_local()


@pytest.mark.parametrize("below", ["a-file", "a-file/data"])
async def test_a_root_that_is_no_directory_is_refused(open_local: Open, tmp_path: Path, below: str) -> None:
    """In one line that names it."""
    (tmp_path / "a-file").write_text("")
    with pytest.raises(StoreUnusable, match=r"^the store .*a-file.* cannot be used: [A-Z].*$"):
        await open_local(root=tmp_path / below)


async def test_a_root_that_cannot_be_written_is_refused(open_local: Open) -> None:
    """Not even by the superuser: /proc takes no files."""
    with pytest.raises(StoreUnusable, match=r"^the store /proc/\S+ cannot be used: [A-Z].*$"):
        await open_local(root=Path("/proc/spillway-test"))


async def test_a_root_without_permission_is_refused(open_local: Open, forbidden: Path) -> None:
    """A folder that belongs to somebody else: the line names who may not write where, and a remedy."""
    uid = os.geteuid()
    for attempt in (open_local(root=forbidden), LocalStore(forbidden, 1, DAY).check()):
        with pytest.raises(StoreUnusable, match="Permission denied") as refusal:
            await attempt
        line = str(refusal.value)
        assert f" at {forbidden} for uid {uid}, gid {os.getegid()}" in line
        assert f"chown -R {uid} {forbidden}" in line


async def test_images_are_there_before_the_survey(store: LocalStore, root: Path) -> None:
    """A store that is open serves and deletes, and its count of bytes is right in the end."""
    kept, deleted = await finished(store), await finished(store)
    waiting = await accepted(store)
    await store.close()

    again = LocalStore(root, 10**9, DAY)
    await again.open()
    assert used(again) == 0
    assert await again.load(kept.id) is not None
    await again.delete(deleted.id)
    assert used(again) == 0
    await again.survey()
    assert [job.id for job in await pending(again)] == [waiting.id]
    await again.sweep()
    assert used(again) == kept.made["thumb"].size + waiting.size
    await again.close()
