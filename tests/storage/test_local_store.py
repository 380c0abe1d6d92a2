"""The store in a directory: real files, real locks, and crashes made by leaving things lying about."""

import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from app.job import Job, JobStatus, new_id
from app.storage.interface import StoreFull, StoreUnusable
from app.storage.local.store import LocalStore
from tests.clocks import HandClock
from tests.storage.jobs import DAY, PHOTO, accepted, finished, job_of, made, pending, spooled, used

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The store works in threads, so its loop has to wait for them."""
    return "asyncio"


@pytest.fixture(autouse=True)
async def _no_blocking_call() -> AsyncIterator[None]:
    """Fail where the store blocks the event loop."""
    with blockbuster_ctx("app"):
        yield


@pytest.fixture
def clock() -> HandClock:
    """The store's idea of the time since the epoch."""
    return HandClock(time.time())


Open = Callable[..., Any]


@pytest.fixture
async def open_store(tmp_path: Path, clock: HandClock) -> AsyncIterator[Open]:
    """A function that opens a store; all of them in one directory, each closed at the end."""
    opened = []

    async def open_one(root: Path = tmp_path / "data", max_bytes: int = 10**9) -> LocalStore:
        store = LocalStore(root, max_bytes, DAY, clock)
        opened.append(store)
        await store.open()
        return store

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: Open) -> LocalStore:
    """An open store, empty."""
    opened: LocalStore = await open_store()
    return opened


@pytest.fixture
def powerless(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may not write, for which the superuser becomes somebody else."""
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
    """Where an accepted job lives."""
    return store.folders.source(job.id).parent


def files(root: Path) -> list[str]:
    """Every file below a folder, from there."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@contextmanager
def room_for_files_of(size: int) -> Iterator[None]:
    """The nearest thing to a full disk that any machine has: no file of this process may grow past `size`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- accepting ------------------------------------------------------------------------------------------


async def test_an_accepted_upload_is_all_there(store: LocalStore) -> None:
    """After `accept` bytes and record are in place, whatever pieces they came in, and the spool is empty."""
    data = PHOTO + os.urandom(700_000)
    job = job_of(data)
    spool = await store.spool(job.id)
    for start in range(0, len(data), 99_991):
        await spool.write(data[start : start + 99_991])
    assert await store.load(job.id) is None
    await store.accept(spool, job)
    assert store.folders.source(job.id).read_bytes() == data
    assert await store.load(job.id) == job
    assert files(home(store, job).parents[2] / "spool") == []


async def test_discarding_after_the_acceptance_is_harmless(store: LocalStore) -> None:
    """What every upload does at its end takes nothing back that was accepted."""
    job = job_of(PHOTO)
    spool = await spooled(store, job, PHOTO)
    await store.accept(spool, job)
    await spool.discard()
    await spool.discard()
    assert store.folders.source(job.id).read_bytes() == PHOTO


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
async def test_a_discarded_upload_leaves_nothing(store: LocalStore, tmp_path: Path, size: int) -> None:
    """Whether nothing, little or much had come in."""
    job = job_of(PHOTO)
    spool = await store.spool(job.id)
    if size:
        await spool.write(bytes(size))
    before = files(tmp_path)
    await spool.discard()
    await spool.discard()
    assert files(tmp_path) == [path for path in before if "spool" not in path]
    assert list((tmp_path / "data" / "spool").iterdir()) == []
    assert used(store) == 0


async def test_a_crash_before_the_acceptance_leaves_no_job(open_store: Open, tmp_path: Path) -> None:
    """An upload that was on its way in when the server died is swept at the next start."""
    before = await open_store()
    half = job_of(PHOTO)
    await spooled(before, half, bytes(1_000_000))
    # Dead between the record and the rename: everything is written, but in the spool.
    ready = job_of(PHOTO)
    folder = tmp_path / "data" / "spool" / ready.id
    folder.mkdir()
    (folder / "source").write_bytes(PHOTO)
    (folder / "job.json").write_bytes(ready.to_record())
    await before.workspace(half.id)
    await before.close()
    after = await open_store()
    assert await pending(after) == []
    assert await after.load(half.id) is None
    assert await after.load(ready.id) is None
    assert files(tmp_path / "data") == ["lock", "secret"]
    assert used(after) == 0


@pytest.mark.parametrize("step", ["write", "accept"])
async def test_an_upload_that_the_disk_has_no_room_for_is_refused(
    store: LocalStore, tmp_path: Path, step: str
) -> None:
    """As the guard would have refused it, wherever the room ends; discarding it leaves nothing behind."""
    job = job_of(PHOTO)
    spool = await store.spool(job.id)
    with room_for_files_of(100_000):
        if step == "accept":
            await spool.write(bytes(100_001))
        with pytest.raises(StoreFull, match="File too large"):
            await (spool.write(bytes(1_000_000)) if step == "write" else store.accept(spool, job))
        await spool.discard()
    assert list((tmp_path / "data" / "spool").iterdir()) == []
    assert await store.load(job.id) is None
    assert used(store) == 0


# --- after a restart ------------------------------------------------------------------------------------


async def test_unfinished_jobs_come_back_oldest_first(open_store: Open) -> None:
    """After a restart every accepted job that is not through is handed out once, in the order of arrival."""
    before = await open_store()
    jobs = [await accepted(before, job=job_of(PHOTO, created_at=1000.0 + n)) for n in range(5)]
    upload = [jobs[index] for index in (3, 0, 4, 1, 2)]
    for seconds, job in enumerate(upload):
        os.utime(before.folders.source(job.id), (seconds, seconds))
    through = await finished(before)
    await before.close()
    after = await open_store()
    assert [job.id for job in await pending(after)] == [job.id for job in upload]
    assert await pending(after) == []
    assert through.id not in [job.id for job in upload]


async def test_a_job_with_promises_left_comes_back(open_store: Open) -> None:
    """Done, but with variants deferred: the source is kept, and the job is not forgotten."""
    before = await open_store()
    job = await accepted(before)
    job.status, job.finished_at, job.deferred = JobStatus.DONE, time.time(), ("large",)
    await before.save(job)
    await before.close()
    after = await open_store()
    assert await pending(after) == [job]


async def test_a_job_that_ended_as_the_server_died_does_not_come_back(open_store: Open) -> None:
    """Dead between the final record and the removal of the source: the source goes at the next start."""
    before = await open_store()
    job = await accepted(before)
    job.status, job.finished_at = JobStatus.FAILED, time.time()
    (home(before, job) / "job.json").write_bytes(job.to_record())
    await before.close()
    after = await open_store()
    assert used(after) == len(PHOTO)
    assert await pending(after) == []
    assert used(after) == 0
    assert await after.load(job.id) == job
    assert not after.folders.source(job.id).exists()


@pytest.mark.parametrize(
    "record", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"version":2}', b'{"version":1,"id":7}', None]
)
async def test_a_damaged_record_is_made_anew(open_store: Open, record: bytes | None) -> None:
    """As long as the photo is there the job is done whole rather than lost."""
    before = await open_store()
    job = await accepted(before)
    path = home(before, job) / "job.json"
    if record is None:
        path.unlink()
    else:
        path.write_bytes(record)
    os.utime(before.folders.source(job.id), (1234, 1234))
    await before.close()
    after = await open_store()
    assert await after.load(job.id) is None
    (again,) = await pending(after)
    assert (again.id, again.size, again.wanted, again.created_at) == (job.id, len(PHOTO), (), 1234)
    assert await after.load(job.id) == again


async def test_another_job_s_record_is_no_record(open_store: Open) -> None:
    """A record that names another id is damage too."""
    store = await open_store()
    job, other = await accepted(store), await accepted(store)
    (home(store, job) / "job.json").write_bytes(other.to_record())
    assert await store.load(job.id) is None


async def test_a_job_deleted_before_its_turn_does_not_stop_the_others(open_store: Open) -> None:
    """A client may delete its image while the start is still feeding the queue."""
    before = await open_store()
    jobs = [await accepted(before) for _ in range(3)]
    for seconds, job in enumerate(jobs):
        os.utime(before.folders.source(job.id), (seconds, seconds))
    await before.close()
    after = await open_store()
    feed = after.pending()
    assert await anext(feed) == jobs[0]
    await after.delete(jobs[1].id)
    assert [job async for job in feed] == [jobs[2]]


async def test_the_leftovers_of_a_crash_are_no_part_of_a_job(open_store: Open) -> None:
    """A record that was being written is removed, and counts nothing."""
    before = await open_store()
    job = await accepted(before)
    (home(before, job) / "job.json.new").write_bytes(b"{")
    await before.close()
    after = await open_store()
    assert used(after) == len(PHOTO)
    assert files(home(after, job)) == ["job.json", "source"]


async def test_delete_tokens_outlive_a_restart_and_differ(open_store: Open, tmp_path: Path) -> None:
    """They are an HMAC under the store's secret: the same after a restart, another for each job and store."""
    store = await open_store()
    job_id, other_id = new_id(), new_id()
    token = store.delete_token(job_id)
    assert len(token) == 64
    assert token != store.delete_token(other_id)
    await store.close()
    assert (await open_store()).delete_token(job_id) == token
    assert (await open_store(tmp_path / "elsewhere")).delete_token(job_id) != token
    assert (tmp_path / "data" / "secret").stat().st_mode & 0o077 == 0


# --- what a worker made ---------------------------------------------------------------------------------


async def test_a_variant_whose_file_is_gone_is_told_from_one_that_is_there(store: LocalStore) -> None:
    """No bytes rather than an error, when somebody removed the file by hand."""
    job = await finished(store)
    (home(store, job) / "thumb.jpg").unlink()
    assert await store.blob(job, "thumb") is None


async def test_an_open_variant_outlives_its_removal(store: LocalStore) -> None:
    """A download that has begun is not cut off by a deletion."""
    job = await finished(store)
    blob = await store.blob(job, "thumb")
    assert blob is not None
    await store.delete(job.id)
    assert await blob.read(0, len(PHOTO)) == PHOTO
    blob.close()


async def test_a_source_goes_when_its_job_is_final(store: LocalStore) -> None:
    """With nothing left to make the upload itself is not kept; with variants deferred it is."""
    job = await accepted(store)
    job.status, job.finished_at, job.deferred = JobStatus.DONE, time.time(), ("large",)
    await store.save(job)
    assert store.folders.source(job.id).exists()
    job.deferred = ()
    await store.save(job)
    assert not store.folders.source(job.id).exists()
    assert used(store) == 0


# --- removal and expiry ---------------------------------------------------------------------------------


async def test_a_deleted_job_is_gone_at_once(store: LocalStore) -> None:
    """Record, source and variants; and deleting again, or what never was, is harmless."""
    job = await finished(store)
    assert await store.load(job.id) == job
    folder = home(store, job)
    await store.delete(job.id)
    await store.delete(job.id)
    await store.delete(new_id())
    assert await store.load(job.id) is None
    assert not folder.exists()
    assert files(folder.parents[2] / "work") == []
    assert used(store) == 0


async def test_the_sweep_removes_what_has_expired_and_nothing_else(
    store: LocalStore, clock: HandClock
) -> None:
    """Old jobs go with all of their files; younger and unfinished ones stay."""
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


async def test_the_sweep_removes_what_a_damaged_record_would_keep_for_ever(
    store: LocalStore, clock: HandClock
) -> None:
    """A finished job without a readable record goes in its time; one with its photo waits for a start."""
    finished_one, unfinished = await finished(store), await accepted(store)
    for job in (finished_one, unfinished):
        (home(store, job) / "job.json").write_bytes(b"{")
    assert await store.sweep() == 0
    clock.advance(2 * DAY)
    assert await store.sweep() == 1
    assert not home(store, finished_one).exists()
    assert store.folders.source(unfinished.id).exists()
    assert used(store) == len(PHOTO)


# --- space ----------------------------------------------------------------------------------------------


async def test_a_job_made_twice_counts_once(open_store: Open) -> None:
    """Variants that a retry, or a run after a crash, makes anew replace those that were there."""
    store = await open_store()
    job = await accepted(store)
    await made(store, job, thumb=PHOTO + bytes(1000))
    await made(store, job, thumb=PHOTO)
    assert used(store) == 2 * len(PHOTO)
    await store.close()
    again = await open_store()
    assert used(again) == 2 * len(PHOTO)
    await made(again, job, thumb=PHOTO + bytes(10))
    assert used(again) == 2 * len(PHOTO) + 10
    await again.delete(job.id)
    assert used(again) == 0


# --- a store that cannot be used ------------------------------------------------------------------------


async def test_a_second_server_on_one_directory_is_refused(open_store: Open, tmp_path: Path) -> None:
    """The lock is held by the first until it closes; what the first has under way is not touched."""
    first = await open_store()
    job = job_of(PHOTO)
    await spooled(first, job, bytes(1_000_000))
    with pytest.raises(StoreUnusable, match="in use by another server") as refusal:
        await open_store()
    assert "\n" not in str(refusal.value)
    assert (tmp_path / "data" / "spool" / job.id / "source").exists()
    await first.close()
    await open_store()


@pytest.mark.parametrize("below", ["a-file", "a-file/data"])
async def test_a_root_that_is_no_directory_is_refused(open_store: Open, tmp_path: Path, below: str) -> None:
    """In one clear line that names it."""
    (tmp_path / "a-file").write_text("")
    with pytest.raises(StoreUnusable, match=r"^the store .*a-file.* cannot be used: [A-Z].*$"):
        await open_store(tmp_path / below)


async def test_a_root_that_cannot_be_written_is_refused(open_store: Open) -> None:
    """Not even by the superuser: /proc takes no files."""
    with pytest.raises(StoreUnusable, match=r"^the store /proc/\S+ cannot be used: [A-Z].*$"):
        await open_store(Path("/proc/spillway-test"))


async def test_a_root_without_permission_is_refused(open_store: Open, powerless: Path) -> None:
    """A folder that belongs to somebody else."""
    with pytest.raises(StoreUnusable, match="Permission denied"):
        await open_store(powerless)


async def test_a_damaged_secret_is_refused(open_store: Open, tmp_path: Path) -> None:
    """With a cut secret no token could be trusted, so the server does not start."""
    store = await open_store()
    await store.close()
    (tmp_path / "data" / "secret").write_bytes(b"short")
    with pytest.raises(StoreUnusable, match=r"secret .* is damaged: it has 5 bytes"):
        await open_store()


@pytest.mark.parametrize("job_id", ["", "..", "../../secret", "A" * 32, "0" * 31, "0" * 33])
async def test_only_ids_reach_the_disk(store: LocalStore, job_id: str) -> None:
    """What is no id names no path."""
    assert await store.load(job_id) is None
    with pytest.raises(ValueError, match="not an id"):
        store.folders.source(job_id)


async def test_a_note_for_the_next_process_is_read_once(open_store: Open, tmp_path: Path) -> None:
    """The last one that was left, by nobody but the service's own user."""
    store = await open_store()
    assert await store.load_state() is None
    await store.save_state(b"first")
    await store.save_state(b"second")
    note = tmp_path / "data" / "note"
    assert note.stat().st_mode & 0o777 == 0o600
    assert await store.load_state() == b"second"
    assert await store.load_state() is None
    assert not note.exists()


async def test_a_note_that_cannot_be_read_is_none(open_store: Open, tmp_path: Path) -> None:
    """Whatever stands in its place keeps no service from starting."""
    store = await open_store()
    await store.save_state(b"note")
    note = tmp_path / "data" / "note"
    note.unlink()
    note.mkdir()
    assert await store.load_state() is None
