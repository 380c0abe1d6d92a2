"""The jobs under way in this process, and the counters of how jobs ended."""

import time
from dataclasses import replace
from typing import Any

import structlog

from app.engine.interface import JobCounters
from app.engine.job_handle import JobHandle
from app.job import Job, JobStatus

log = structlog.get_logger(__name__)


def log_fields(job: Job) -> dict[str, Any]:
    """What the log says of a job that has ended; `bytes` is the size of the upload, `sizes` are in pixels."""
    fields: dict[str, Any] = {"job": job.id, "status": job.status.value}
    ended_at = job.completed_at or job.finished_at
    if ended_at is not None:
        fields["seconds"] = round(max(0.0, ended_at - job.created_at), 3)
    fields["bytes"] = job.size
    if job.source:
        fields["source"] = f"{job.source.get('format')} {job.source.get('width')}x{job.source.get('height')}"
    if job.made:
        fields["sizes"] = " ".join(f"{name}={made.width}x{made.height}" for name, made in job.made.items())
    if job.deferred:
        fields["deferred"] = " ".join(job.deferred)
    if job.problem:
        fields["reason"] = job.problem[0]
    if job.trace:
        fields["trace_id"] = job.trace[3:35]
    return fields


class JobRegistry:
    """Finds a job under way by its id, tells its watchers what it has become, and counts.

    It knows nothing of queues and workers: the dispatcher moves jobs and calls this class after each change.
    """

    def __init__(self) -> None:
        self.counters = JobCounters()
        self._handles: dict[str, JobHandle] = {}

    def __len__(self) -> int:
        return len(self._handles)

    def accept(self, job: Job, client: str) -> JobHandle:
        """Register and count a new job; `client` is the one whose share it counts against.

        One that was reopened is done already, and not counted again.
        """
        handle = JobHandle(job, client, accepted_at=time.monotonic())
        self._handles[job.id] = handle
        if not job.reopened:
            self.counters.accepted += 1
            self.counters.accepted_bytes += job.size
        return handle

    def resume(self, job: Job) -> JobHandle:
        """Register a job that was accepted by an earlier run or by another process, without counting it.

        Records do not name the client, so the job counts against nobody's share: its own id stands in.
        """
        handle = JobHandle(job, client=job.id)
        self._handles[job.id] = handle
        return handle

    def find(self, job_id: str) -> JobHandle | None:
        """The job with this id, or None when it is not under way."""
        return self._handles.get(job_id)

    def publish_result(self, handle: JobHandle, before: Job) -> None:
        """Tell watchers what a worker added to a job, which was `before` until now, and count how it ended.

        A job that is final is forgotten.
        """
        job = handle.job
        if job.is_final:
            self._forget(handle)
        # Of a job whose deferred variants were made, the last variant is the end of its event stream and has
        # the id of the final state, so that a client which reconnects with it learns that nothing follows.
        for count in range(len(before.made) + 1, len(job.made) + 1):
            is_last = before.deferred and count == len(job.made)
            handle.publish("variant", None if is_last else f"variant.{count}")
        log.info("job ended", **log_fields(job))
        if not before.deferred:
            self._count(job)
            handle.set_status(job.status)
        elif job.problem:
            handle.publish(JobStatus.DONE)

    def end_cancelled(self, handle: JobHandle) -> None:
        """Forget a job on which nothing works any more and whose files are to be removed; tell watchers."""
        self._forget(handle)
        if handle.job.status != JobStatus.DONE:
            self.counters.cancelled += 1
        handle.job = replace(handle.job, made={}, deferred=())
        handle.set_status(JobStatus.CANCELLED)

    def _count(self, job: Job) -> None:
        if job.status != JobStatus.DONE:
            self.counters.failed += 1
            return
        self.counters.done += 1
        if job.deferred:
            self.counters.deferred += 1
            self.counters.provisional += job.is_provisional

    def _forget(self, handle: JobHandle) -> None:
        self._handles.pop(handle.job.id, None)
