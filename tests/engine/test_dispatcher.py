"""The dispatcher: jobs go to free workers, and whatever fails, no job is lost and no worker stays idle."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from app.engine.job_handle import JobHandle
from app.engine.worker_process import WorkerProcessFailed
from app.job import JobStatus
from app.runtime.tasks import RESTART_PAUSE_S
from app.storage.interface import JobGone, StoreFull
from tests.clocks import settle
from tests.engine.stand_ins import Setting
from workers.messages import Failed

pytestmark = pytest.mark.anyio

RETRY_PAUSE_S = 1.0


def clock() -> float:
    """The loop's time in seconds."""
    return asyncio.get_running_loop().time()


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    """A dispatcher with one worker, started."""
    setting = Setting(clock)
    await setting.dispatcher.start()
    yield setting
    await setting.dispatcher.stop()


async def ended(handle: JobHandle) -> JobStatus:
    """The status with which a job ends."""
    async with asyncio.timeout(300):
        await handle.finished.wait()
    await settle()
    return handle.job.status


# --- what a job becomes ---------------------------------------------------------------------------------


async def test_a_job_is_made_and_recorded(setting: Setting) -> None:
    """Its watchers hear of it after the record is durable, and its worker was free before that."""
    handle = setting.upload()
    events = [event[0] async for event in handle.events(lambda: 100) if event is not None]
    assert events == ["queued", "processing", "variant", "done"]
    assert setting.store.records[handle.job.id] == handle.job
    assert setting.freed == [handle]
    assert setting.dispatcher.jobs.find(handle.job.id) is None
    assert setting.store.workspaces == 0


async def test_jobs_of_an_earlier_run_come_first() -> None:
    """And are not counted as accepted again."""
    setting = Setting(clock)
    earlier = setting.upload()
    assert setting.dispatcher.work_queue.remove(earlier)
    setting.dispatcher.set_active_workers(0)
    await setting.dispatcher.start()
    await setting.dispatcher.recover()
    later = setting.upload()
    setting.dispatcher.set_active_workers(1)
    await ended(later)
    assert [task.id for task in setting.worker.tasks] == [earlier.job.id, later.job.id]
    assert setting.dispatcher.jobs.counters.accepted == 2
    await setting.dispatcher.stop()


async def test_a_job_whose_worker_dies_is_tried_once_more(setting: Setting) -> None:
    """The worker is replaced each time; after the second death the job is failed."""
    setting.worker.answers.append(WorkerProcessFailed("gone"))
    assert await ended(setting.upload()) == JobStatus.DONE
    assert setting.worker.restarts == 1
    setting.worker.answers.extend([WorkerProcessFailed("gone"), WorkerProcessFailed("gone")])
    handle = setting.upload()
    assert await ended(handle) == JobStatus.FAILED
    assert handle.job.problem == ("worker-died", "The process that worked on it died twice.")
    assert setting.worker.restarts == 3
    assert len(setting.worker.tasks) == 4


async def test_a_worker_that_died_idle_costs_no_job_a_try(setting: Setting) -> None:
    """It is replaced before the job is given to it."""
    await settle()
    setting.worker.is_alive = False
    handle = setting.upload()
    assert await ended(handle) == JobStatus.DONE
    assert (handle.job.deaths, setting.worker.restarts, len(setting.worker.tasks)) == (0, 1, 1)


async def test_an_unexpected_exception_counts_as_a_death_of_a_worker_that_lives_on(setting: Setting) -> None:
    """The job is failed after two of them, and the worker is not replaced."""
    with capture_logs() as logs:
        handle = setting.upload("no such variant")
        assert await ended(handle) == JobStatus.FAILED
    assert [line["event"] for line in logs].count("a job could not be given to a worker") == 2
    assert (setting.worker.restarts, setting.worker.tasks) == (0, [])
    assert await ended(setting.upload()) == JobStatus.DONE


@pytest.mark.parametrize("answer", [Failed("x", "cancelled", ""), None])
async def test_a_job_that_was_cancelled_or_is_gone_ends_as_cancelled(
    setting: Setting, answer: Failed | None
) -> None:
    """Its record is not written."""
    if answer is None:
        setting.store.on_fetch.add(JobGone())
    else:
        setting.worker.answers.append(answer)
    handle = setting.upload()
    assert await ended(handle) == JobStatus.CANCELLED
    assert setting.store.records[handle.job.id].status == JobStatus.QUEUED
    assert setting.dispatcher.jobs.counters.cancelled == 1
    assert setting.store.workspaces == 0


async def test_a_job_whose_client_left_unanswered_is_removed(setting: Setting) -> None:
    """No worker sees it."""
    setting.dispatcher.set_active_workers(0)
    handle = setting.upload()
    handle.client_left = True
    setting.dispatcher.set_active_workers(1)
    assert await ended(handle) == JobStatus.CANCELLED
    assert (setting.store.records, setting.worker.tasks) == ({}, [])


async def test_a_waiting_job_is_cancelled_at_once(setting: Setting) -> None:
    """It leaves the queue, and the next job is not disturbed."""
    setting.dispatcher.set_active_workers(0)
    handle, other = setting.upload(), setting.upload()
    await setting.dispatcher.cancel(handle)
    assert handle.job.status == JobStatus.CANCELLED
    setting.dispatcher.set_active_workers(1)
    assert await ended(other) == JobStatus.DONE
    assert [task.id for task in setting.worker.tasks] == [other.job.id]


# --- the store fails ------------------------------------------------------------------------------------


def on_fetch(setting: Setting) -> None:
    setting.store.on_fetch.add(OSError("no such disk"))


def on_save(setting: Setting) -> None:
    setting.store.on_save.add(OSError("no such disk"))


def full(setting: Setting) -> None:
    setting.store.on_save.add(StoreFull("no room"))


def full_for_a_worker(setting: Setting) -> None:
    setting.worker.answers.append(Failed("x", "no-space", "No space left on device."))


@pytest.mark.parametrize("fail", [on_fetch, on_save, full, full_for_a_worker])
async def test_a_failure_of_the_store_is_waited_out(
    setting: Setting, fail: Callable[[Setting], None]
) -> None:
    """The job is queued again after a pause, and no death is counted against it."""
    fail(setting)
    began = clock()
    with capture_logs() as logs:
        handle = setting.upload()
        assert await ended(handle) == JobStatus.DONE
    assert clock() - began == pytest.approx(RETRY_PAUSE_S)
    assert handle.job.deaths == 0
    assert [line["event"] for line in logs] == ["the store failed, the job is tried again", "job ended"]
    assert logs[0]["reason"]
    assert setting.store.workspaces == 0


async def test_a_job_for_which_there_is_no_process_waits(setting: Setting) -> None:
    """It is queued again after a pause as often as it takes: no death is counted, and no breaker opens."""
    setting.worker.answers.extend([Failed("x", "no-process", "No process.")] * 6)
    began = clock()
    with capture_logs() as logs:
        handle = setting.upload()
        assert await ended(handle) == JobStatus.DONE
    assert clock() - began == pytest.approx(6 * RETRY_PAUSE_S)
    assert handle.job.deaths == setting.worker.restarts == 0
    assert [each.opened for each in setting.breakers.snapshot()] == [0, 0]
    assert {line["event"] for line in logs[:6]} == {
        "there was no process for the job, the job is tried again"
    }


async def test_while_the_breaker_of_the_store_is_open_a_job_waits_for_it(setting: Setting) -> None:
    """A store that fails five times in a row is not asked, and the job is done when it is again."""
    setting.store.on_fetch.add(*[OSError("no such disk")] * 5)
    handle = setting.upload()
    assert await ended(handle) == JobStatus.DONE
    assert [each.opened for each in setting.breakers.snapshot()] == [0, 1]


@pytest.mark.parametrize("end", ["drain", "stop"])
async def test_a_job_that_waits_for_the_store_does_not_hold_up_the_end(setting: Setting, end: str) -> None:
    """It would not be begun again by this run, and the next one finds its record as it was."""
    setting.store.on_fetch.add(OSError("no such disk"))
    handle = setting.upload()
    await settle()
    began = clock()
    if end == "drain":
        await setting.dispatcher.drain(30)
        assert clock() - began < RETRY_PAUSE_S / 2
    await setting.dispatcher.stop()
    assert clock() - began < RETRY_PAUSE_S / 2
    assert setting.store.records[handle.job.id].status == JobStatus.QUEUED


async def test_a_failing_store_holds_up_further_jobs(setting: Setting) -> None:
    """With two outcomes for each worker that wait for the store, no more jobs are begun."""
    setting.store.on_save.add(*[OSError("no such disk")] * 4)
    handles = [setting.upload() for _ in range(4)]
    await settle()
    assert len(setting.worker.tasks) == 2
    for handle in handles:
        assert await ended(handle) == JobStatus.DONE


# --- workers and their tasks ----------------------------------------------------------------------------


async def test_only_active_workers_take_jobs() -> None:
    """The others go on when they are active again."""
    setting = Setting(clock, workers=3)
    setting.dispatcher.set_active_workers(1)
    await setting.dispatcher.start()
    for _ in range(6):
        await ended(setting.upload())
    assert [len(worker.tasks) for worker in setting.pool.workers] == [6, 0, 0]
    setting.dispatcher.set_active_workers(3)
    await settle()
    handles = [setting.upload() for _ in range(6)]
    for handle in handles:
        await ended(handle)
    assert all(worker.tasks for worker in setting.pool.workers)
    await setting.dispatcher.stop()


async def test_a_worker_s_task_outlives_an_unexpected_exception(setting: Setting) -> None:
    """It is logged, and the worker is given the next job."""
    setting.worker.answers.append(WorkerProcessFailed("gone"))
    setting.worker.on_restart.add(RuntimeError("a bug"))
    began = clock()
    with capture_logs() as logs:
        assert await ended(setting.upload()) == JobStatus.DONE
    assert [line["task"] for line in logs if line["event"] == "background task failed"] == ["worker 0"]
    assert clock() - began == pytest.approx(RESTART_PAUSE_S)


async def test_an_abandoned_job_that_cannot_be_removed_is_over_all_the_same(setting: Setting) -> None:
    """The failure is logged, expected or not, and the next job is begun."""
    setting.store.on_delete.add(OSError("no such disk"), RuntimeError("a bug"))
    setting.dispatcher.set_active_workers(0)
    abandoned = [setting.upload() for _ in range(2)]
    for handle in abandoned:
        handle.client_left = True
    setting.dispatcher.set_active_workers(1)
    with capture_logs() as logs:
        for handle in abandoned:
            assert await ended(handle) == JobStatus.CANCELLED
    assert [line["event"] for line in logs] == ["an abandoned upload could not be removed"] * 2
    assert await ended(setting.upload()) == JobStatus.DONE


async def test_deferred_variants_that_are_tried_again_are_not_told_to_watchers(setting: Setting) -> None:
    """A job that is done stays done while its deferred variants are tried a second time."""
    setting.worker.answers.append(WorkerProcessFailed("gone"))
    handle = setting.upload()
    setting.dispatcher.work_queue.remove(handle)
    job = replace(handle.job, status=JobStatus.DONE, deferred=("thumb",))
    resumed = setting.dispatcher.resume(job)
    events = [event[0] async for event in resumed.events(lambda: 100) if event is not None]
    assert events == ["done", "variant"]
    assert (resumed.job.deferred, list(resumed.job.made)) == ((), ["thumb"])
