"""What a store in a directory does costs what happens, not what is there: files and calls are counted."""

import math
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.job import Job, new_id
from app.storage.interface import StoreFull
from app.storage.local import inventory
from app.storage.local.expiry_index import ExpiryIndex
from app.storage.local.store import LocalStore
from tests.clocks import HandClock
from tests.storage.conftest import Open
from tests.storage.jobs import DAY, PHOTO, accepted, finished, job_of, pending, spooled, used

pytestmark = pytest.mark.anyio


class Counted:
    """Calls a function, and counts how often."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self._function(*args, **kwargs)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Counts the folders that surveys look into."""
    counted = Counted(os.scandir)
    monkeypatch.setattr(inventory, "scandir", counted)
    return counted


def crash(store: LocalStore) -> None:
    """The process that has the store dies: the lock is released, and nothing is written."""
    store.directory.close()


# --- the sweep ------------------------------------------------------------------------------------------


async def test_a_sweep_reads_the_records_that_are_due_and_no_others(
    open_local: Open, clock: HandClock, scans: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a restart between, after which the index is found out, and with jobs that ended since."""
    store = await open_local()
    due = [await finished(store, clock.now - DAY / 2) for _ in range(3)]
    kept = [await finished(store, clock.now) for _ in range(20)]
    await store.close()
    store = await open_local()
    due.append(await finished(store, clock.now - DAY / 2))
    reads = Counted(store.folders.read_record)
    monkeypatch.setattr(store.folders, "read_record", reads)
    clock.advance(0.6 * DAY)
    scans.calls = 0
    assert await store.sweep() == len(due)
    assert (reads.calls, scans.calls) == (2 * len(due), 0)  # once more under the lock, before each goes
    assert await store.sweep() == 0
    assert reads.calls == 2 * len(due)
    clock.advance(DAY)
    assert await store.sweep() == len(kept)
    assert used(store) == 0


async def test_what_could_not_be_removed_is_tried_again(open_local: Open, clock: HandClock) -> None:
    """By the next sweep, with all that came after it."""
    store = await open_local()
    jobs = [await finished(store, clock.now) for _ in range(3)]
    clock.advance(2 * DAY)
    failures = [OSError("no such disk")]

    @asynccontextmanager
    async def failing(job: Job) -> AsyncIterator[None]:
        if failures:
            raise failures.pop()
        yield

    store.expiring = failing
    with pytest.raises(OSError, match="no such disk"):
        await store.sweep()
    assert await store.sweep() == len(jobs)


async def test_a_recount_finds_what_was_put_there_by_hand_and_takes_its_time(
    open_local: Open, clock: HandClock, scans: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts and indexes it; and is not done again at once, since it looks at everything."""
    store = await open_local(max_bytes=3 * len(PHOTO))
    job = await finished(store, clock.now)
    copy = store.folders.home("ab" * 16)
    shutil.copytree(store.folders.home(job.id), copy)
    record = Job.from_record((copy / "job.json").read_bytes())
    record.id = copy.name
    (copy / "job.json").write_bytes(record.to_record())
    look, took = store._look_at_all, 10

    async def slowly(**named: Any) -> Any:
        clock.advance(took)
        return await look(**named)

    monkeypatch.setattr(store, "_look_at_all", slowly)
    for minute in range(5):
        with pytest.raises(StoreFull):
            store.reserve(3 * len(PHOTO))
        scans.calls = 0
        assert await store.sweep() == 0
        assert bool(scans.calls) == (minute in (0, 4))
        assert used(store) == 2 * len(PHOTO)
        clock.advance(60)
    clock.advance(DAY)
    assert await store.sweep() == 2
    assert used(store) == 0


# --- the start ------------------------------------------------------------------------------------------


async def test_after_a_stop_a_start_looks_at_no_job(
    open_local: Open, clock: HandClock, scans: Counted
) -> None:
    """What the stopped process knew is kept: the bytes, the unfinished jobs and those that will expire."""
    before = await open_local()
    waiting = [await accepted(before, job=job_of(PHOTO, created_at=clock.now + n)) for n in range(3)]
    ended, deleted = await finished(before, clock.now), await accepted(before)
    await before.delete(deleted.id)
    refused = await spooled(before, lost := job_of(PHOTO), PHOTO)
    before.directory.spool.rmdir()
    with pytest.raises(FileNotFoundError):
        await before.accept(refused, lost)
    before.directory.spool.mkdir()
    assert set(before._inventory.unfinished) == {job.id for job in waiting}
    await before.close()
    scans.calls = 0
    after = await open_local()
    assert scans.calls == 0
    assert used(after) == 4 * len(PHOTO)
    assert await pending(after) == waiting
    clock.advance(2 * DAY)
    assert await after.sweep() == 1
    assert await after.load(ended.id) is None


@pytest.mark.parametrize("change", ["crash", "copy", "other job", "damage", "for good"])
async def test_what_may_not_be_true_any_more_is_found_out_anew(
    open_local: Open, clock: HandClock, scans: Counted, tmp_path: Path, change: str
) -> None:
    """After a crash, in a copy, where somebody has changed the folders, and with another retention."""
    before = await open_local()
    image, waiting = await finished(before, clock.now), [await accepted(before)]
    if change == "crash":
        crash(before)
    await before.close()
    root, retention = tmp_path / "data", DAY
    if change == "copy":
        shutil.copytree(root, tmp_path / "copy")
        root = tmp_path / "copy"
    elif change == "other job":
        home, other = before.folders.home(waiting[0].id), job_of(PHOTO)
        shutil.copytree(home, before.folders.home(other.id))
        (before.folders.home(other.id) / "job.json").write_bytes(other.to_record())
        waiting.append(other)
    elif change == "damage":
        with (root / "inventory").open("ab") as file:
            file.write(b"x")
    elif change == "for good":
        retention = math.inf
    scans.calls = 0
    after = await open_local(root=root, retention=retention)
    assert scans.calls > 0
    assert {job.id for job in await pending(after)} == {job.id for job in waiting}
    assert used(after) == (1 + len(waiting)) * len(PHOTO)
    clock.advance(2 * DAY)
    assert await after.sweep() == (0 if change == "for good" else 1)
    assert (await after.load(image.id) is None) == (change != "for good")


async def test_a_kept_inventory_is_used_once(open_local: Open) -> None:
    """A process that dies after it had been read leaves none, so the next start looks for itself."""
    store = await open_local()
    await store.close()
    after = await open_local()
    assert not (after.directory.root / "inventory").exists()
    waiting = await accepted(after)
    crash(after)
    assert await pending(await open_local()) == [waiting]


async def test_unfinished_jobs_are_read_many_at_a_time(
    open_local: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred and fifty of them take three calls into a thread."""
    before = await open_local()
    jobs = [job_of(PHOTO, created_at=1000.0 + number) for number in range(250)]
    for job in jobs:
        home = before.folders.home(job.id)
        home.mkdir(parents=True)
        (home / "source").write_bytes(PHOTO)
        (home / "job.json").write_bytes(job.to_record())
        os.utime(home / "source", (job.created_at, job.created_at))
    crash(before)
    after = await open_local()
    hops = Counted(after.read_in_thread)
    monkeypatch.setattr(after, "read_in_thread", hops)
    assert await pending(after) == jobs
    assert hops.calls == 3


# --- the index ------------------------------------------------------------------------------------------


def test_the_index_gives_what_is_due_and_keeps_the_rest() -> None:
    """To the moment, in pieces, whatever the order in which jobs came; also after it was kept in a file."""
    index, ids = ExpiryIndex(), {at: new_id() for at in range(0, 600, 7)}
    for at in sorted(ids, key=lambda at: at % 11):
        index.add(at, ids[at])
    index = ExpiryIndex(index.buckets())
    assert index.take(-1, 10) == []
    taken = []
    while due := index.take(300, 10):
        taken += due
    assert sorted(taken) == [(at, job_id) for at, job_id in ids.items() if at <= 300]
    assert len(index) == len(ids) - len(taken)
    assert sorted(index.take(1e9, 1000)) == [(at, job_id) for at, job_id in ids.items() if at > 300]
    assert len(index) == 0
