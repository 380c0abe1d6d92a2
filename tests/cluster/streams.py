"""Reads and changes the streams in NATS from outside of the service."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import nats
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import ServiceUnavailableError

from app.cluster.jetstream import DEAD, JOBS, STATUS, WORKERS
from app.job import Job


def ask(url: str, request: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:
    """The result of `request`, made over a new connection."""

    async def once() -> Any:
        client = await nats.connect(url, allow_reconnect=False, error_cb=_ignore)
        try:
            return await request(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(once())


async def _ignore(_: Exception) -> None:
    """Log nothing: the request itself raises."""


def queued(url: str, stream: str = JOBS) -> int:
    """How many messages a stream holds: those of the queue are jobs that wait or run."""

    async def count(js: JetStreamContext) -> int:
        return (await js.stream_info(stream)).state.messages

    return int(ask(url, count))


FILLER = "filler"


def fill_storage(url: str) -> None:
    """Take all the room that a server has on disk, with a stream of another service."""

    async def fill(js: JetStreamContext) -> None:
        await js.add_stream(StreamConfig(FILLER, subjects=[FILLER]))
        with suppress(ServiceUnavailableError):
            while True:
                await js.publish(FILLER, bytes(1000))

    ask(url, fill)


def empty_storage(url: str) -> None:
    """Undo `fill_storage`."""
    ask(url, lambda js: js.delete_stream(FILLER))


def given_up(url: str) -> int:
    """How many jobs were given up because they killed their workers."""
    return queued(url, DEAD)


def status_of(url: str, job_id: str) -> Job:
    """The last status of a job."""

    async def read(js: JetStreamContext) -> Job:
        entry = await (await js.key_value(STATUS)).get(job_id)
        return Job.from_record(entry.value or b"")

    job = ask(url, read)
    assert isinstance(job, Job)
    return job


def set_ack_wait(url: str, seconds: float) -> None:
    """Give the job of a silent worker to another one after so many seconds."""

    async def shorten(js: JetStreamContext) -> None:
        config = (await js.consumer_info(JOBS, WORKERS)).config
        await js.add_consumer(JOBS, replace(config, ack_wait=seconds))

    ask(url, shorten)
