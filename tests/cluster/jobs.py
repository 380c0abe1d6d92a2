"""Puts jobs into the queue of a test's cluster."""

from app.cluster.connection import NatsConnection, StreamFull
from app.cluster.jetstream import job_subject


async def publish(connection: NatsConnection, job_id: str) -> bool | None:
    """Put a job into the queue; False when there is no room, None when it is there already."""
    try:
        async with connection.request(5) as js:
            await js.publish(job_subject(job_id))
    except StreamFull as full:
        return None if full.subject else False
    return True
