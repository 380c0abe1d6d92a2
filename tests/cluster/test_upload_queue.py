"""The upload queue of a replica: what it shows of the cluster's jobs."""

from app.backpressure.drain_rate import DrainRate
from app.cluster.upload_queue import SharedUploadQueue
from app.engine.job_handle import JobHandle
from app.job import Job, new_id


def test_jobs_beyond_the_cluster_s_queue_are_shown_as_overflow() -> None:
    """Whichever replicas accepted them, no more are shown to wait than the queue has places."""
    queue = SharedUploadQueue(
        2, 4, 4, DrainRate(1, 4), max_wait_s=float("inf"), receiving_elsewhere=lambda: 0
    )
    handles = [JobHandle(Job(new_id(), 1000.0, 10, ()), f"client {number}") for number in range(4)]
    for handle in handles[:3]:
        queue.add_elsewhere(handle)
    queue.count_client(handles[3].client)
    queue.reserve(handles[3].client).enqueue(handles[3])
    snapshot = queue.snapshot()
    assert (snapshot.capacity, snapshot.waiting, snapshot.overflow) == (2, 2, 2)
    for handle in handles[:3]:
        queue.discard(handle)
    assert (queue.snapshot().waiting, queue.snapshot().overflow) == (1, 0)
