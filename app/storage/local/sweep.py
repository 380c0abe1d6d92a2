"""The sweep of a local store: removes the jobs whose retention is over, and looks at no others."""

from collections.abc import Awaitable, Callable
from typing import Any

from app.job import Job
from app.storage.interface import EventNotKept
from app.storage.local.expiry_index import ExpiryIndex
from app.storage.local.job_folders import JobFolders

BATCH = 100
"""Records that are read in one call into a thread."""


async def remove_expired(
    expiry: ExpiryIndex,
    horizon: float,
    folders: JobFolders,
    read_in_thread: Callable[..., Awaitable[Any]],
    remove: Callable[[str, Job | None], Awaitable[None]],
) -> int:
    """Have all jobs of the index removed that ended before `horizon` and are over; how many they were.

    `remove` gets the id of each, and its record unless that is damaged. What it cannot remove now, and what
    expires later than the index had it, is in the index again afterwards.

    Raises:
        OSError: of `remove`, or a record cannot be read.
    """
    removed = 0
    again: list[tuple[float, str]] = []
    due: list[tuple[float, str]] = []
    try:
        while due := expiry.take(horizon, BATCH):
            ended_at = {job_id: at for at, job_id in due}
            over, later = await read_in_thread(folders.find_over, ended_at)
            for job_id, job in over:
                try:
                    await remove(job_id, job)
                    removed += 1
                except EventNotKept:
                    again.append((ended_at[job_id], job_id))
            again += later
    finally:
        for at, job_id in [*again, *due]:  # `due` is the batch that could not be finished
            expiry.add(at, job_id)
    return removed
