"""A look into the engine, and a hand on it, from outside of the service."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import nats
from nats.js import JetStreamContext

from app.cluster.jetstream import DEAD, JOBS, STATUS, WORKERS
from app.job import Job


def ask(url: str, question: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:
    """The answer to one question, over a connection of its own."""

    async def once() -> Any:
        client = await nats.connect(url, allow_reconnect=False, error_cb=_untold)
        try:
            return await question(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(once())


async def _untold(_: Exception) -> None:
    """Whoever asks hears of it by the exception."""


def queued(url: str, stream: str = JOBS) -> int:
    """Messages in a stream: jobs that wait or run."""

    async def count(js: JetStreamContext) -> int:
        return (await js.stream_info(stream)).state.messages

    return int(ask(url, count))


def given_up(url: str) -> int:
    """Jobs that nobody tries any more."""
    return queued(url, DEAD)


def told(url: str, job_id: str) -> Job:
    """What was told last of a job."""

    async def read(js: JetStreamContext) -> Job:
        entry = await (await js.key_value(STATUS)).get(job_id)
        return Job.from_record(entry.value or b"")

    job = ask(url, read)
    assert isinstance(job, Job)
    return job


def lose_patience(url: str, seconds: float) -> None:
    """Have a silent worker's job given to another so soon."""

    async def shorten(js: JetStreamContext) -> None:
        there = (await js.consumer_info(JOBS, WORKERS)).config
        await js.add_consumer(JOBS, replace(there, ack_wait=seconds))

    ask(url, shorten)
