"""A worker that was paused for longer than its lease comes back when another one has its job."""

import os
import signal

import pytest

from tests.cluster.conftest import Cluster, StartWorker
from tests.cluster.servers import SpillwayWorker
from tests.cluster.streams import queued, set_ack_wait, status_of
from tests.service import until

CONTINUES, DIES, HANGS = "its child continues", "its child dies", "its child hangs"


def pause(worker: SpillwayWorker) -> None:
    """Stop a worker process; its child is stopped already."""
    worker.process.send_signal(signal.SIGSTOP)


def resume(worker: SpillwayWorker, child: int, how: str) -> None:
    """Continue a worker process, and continue or kill its child or leave that stopped."""
    if how != HANGS:
        os.kill(child, signal.SIGKILL if how == DIES else signal.SIGCONT)
    worker.process.send_signal(signal.SIGCONT)


def begun(cluster: Cluster, worker: SpillwayWorker) -> tuple[str, int]:
    """A job that a worker has begun and cannot finish, and the child that is stopped for it."""
    child = worker.child
    os.kill(child, signal.SIGSTOP)
    job_id = str(cluster.here.taken().json()["id"])
    until(lambda: cluster.here.status_of(job_id) == "processing", "the job to be begun")
    return job_id, child


def check_done(cluster: Cluster, job_id: str) -> None:
    """The job is done and stays so, for both replicas, with its variants and nothing in the queue."""
    until(lambda: queued(cluster.nats.url) == 0, "an empty queue")
    for replica in (cluster.here, cluster.there):
        document = replica.ended(job_id)
        assert document["status"] == "done"
        assert replica.get(document["variants"]["thumb"]["url"]).status == 200
    assert status_of(cluster.nats.url, job_id).is_final


each_end_of_the_late_worker = pytest.mark.parametrize(
    ("how", "job_timeout"),
    [(CONTINUES, 60), (DIES, 60), (HANGS, 1)],
    ids=["continues", "dies", "hangs"],
)


@each_end_of_the_late_worker
def test_a_finished_job_stays_finished(
    cluster: Cluster, start_worker: StartWorker, how: str, job_timeout: int
) -> None:
    """Whatever the late worker ends with, the record is final, and the worker takes the next job."""
    late = start_worker(job_timeout=job_timeout)
    job_id, child = begun(cluster, late)
    pause(late)
    other = start_worker()
    set_ack_wait(cluster.nats.url, 1)  # each worker sets it when it starts
    assert cluster.here.ended(job_id)["status"] == "done"
    resume(late, child, how)
    other.process.terminate()
    assert other.exit_status() == 0
    check_done(cluster, job_id)
    check_done(cluster, cluster.there.taken().json()["id"])
    check_done(cluster, job_id)


@each_end_of_the_late_worker
def test_a_job_that_was_taken_over_is_not_failed_by_the_late_worker(
    cluster: Cluster, start_worker: StartWorker, how: str, job_timeout: int
) -> None:
    """The late worker comes back while the other one is still at it."""
    late = start_worker(job_timeout=job_timeout)
    job_id, child = begun(cluster, late)
    pause(late)
    other = start_worker()
    held = other.child
    os.kill(held, signal.SIGSTOP)
    set_ack_wait(cluster.nats.url, 7)  # the other worker extends it every 5 s
    until(lambda: taken_over(cluster, job_id), "the other worker to begin")
    resume(late, child, how)
    assert does_another_job(cluster)
    os.kill(held, signal.SIGCONT)
    check_done(cluster, job_id)


def taken_over(cluster: Cluster, job_id: str) -> bool:
    """Whether the second worker has begun the job."""
    job = status_of(cluster.nats.url, job_id)
    return job.status == "processing" and job.deaths == 1


def does_another_job(cluster: Cluster) -> bool:
    """Whether the late worker, the only one that can, does another job."""
    other_id = cluster.there.taken().json()["id"]
    return bool(cluster.there.ended(other_id)["status"] == "done")
