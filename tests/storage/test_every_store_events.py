"""What every store does for webhooks: it keeps events, and says when a job is about to expire."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.job import Job
from app.storage.interface import EventNotKept
from tests.clocks import HandClock
from tests.storage.conftest import Open
from tests.storage.jobs import DAY, accepted, finished, job_of

pytestmark = pytest.mark.anyio


async def test_events_are_kept_by_name_until_they_are_forgotten(open_store: Open) -> None:
    """Also for another process; one that is kept twice is there once; what is not there is no error."""
    store = await open_store()
    for name in ("msg_1", "msg_2", "msg_3"):
        await store.events.keep(name, name.encode())
    await store.events.keep("msg_1", b"again")
    await store.events.forget("msg_3")
    await store.events.forget("msg_4")
    assert store.snapshot().used_bytes == 0
    await store.close()
    store = await open_store()
    assert await store.events.read("msg_1") == b"again"
    assert await store.events.read("msg_3") is None
    oldest, total = await store.events.oldest(5)
    assert ({name for _, name in oldest}, total) == ({"msg_1", "msg_2"}, 2)
    oldest, total = await store.events.oldest(1)
    assert (len(oldest), total) == (1, 2)
    assert await store.sweep() == 0
    assert (await store.events.oldest(5))[1] == 2


async def test_an_expiry_is_told_before_the_job_is_gone(store: Any, clock: HandClock) -> None:
    """By the sweep, and by an upload that takes its place before that; not if the event cannot be kept."""
    told: list[str] = []

    @asynccontextmanager
    async def expiring(job: Job) -> AsyncIterator[None]:
        if not told:
            told.append("not kept")
            raise EventNotKept("no")
        told.append(job.id)
        yield
        told.append("removed")

    first, second = await finished(store), await finished(store)
    store.expiring = expiring
    clock.advance(DAY + 3600)
    assert await store.sweep() == 1
    (kept,) = {first.id, second.id} - set(told)
    assert told == ["not kept", ({first.id, second.id} - {kept}).pop(), "removed"]
    again = job_of(b"x", created_at=clock())
    again.id = kept
    await accepted(store, b"x", again)
    assert told[3:] == [kept, "removed"]
    clock.advance(2 * DAY)
    assert await store.sweep() == 0  # it is not done
    assert len(told) == 5
