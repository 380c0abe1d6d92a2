"""NATS answers and has no room left on its disk: nothing is lost, and all goes on when there is room."""

import os
import signal
from pathlib import Path

import pytest

from app.backpressure.circuit_breaker import BreakerState
from app.backpressure.token_bucket import GCRA
from app.cluster.connection import EngineDown, NatsConnection, StorageFull
from app.cluster.factory import engine_breaker
from app.cluster.jetstream import Bounds, JobStream, prepare, rate_bucket
from app.job import Job, new_id
from tests.cluster.conftest import MAX_RECEIVING, QUEUE_SIZE
from tests.cluster.servers import NatsServer, SpillwayWorker
from tests.cluster.streams import empty_storage, fill_storage, queued
from tests.service import serving, until
from tests.storage.servers import Moto
from tests.system.http.expect import problem

_MANY = 10


@pytest.mark.anyio
async def test_full_is_neither_away_nor_a_full_queue(small_nats: NatsServer) -> None:
    """However often NATS says so, its breaker stays closed, and nothing is to be set up again."""
    connection = NatsConnection([small_nats.url], engine_breaker())
    await connection.open()
    try:
        await prepare(connection, Bounds(QUEUE_SIZE, MAX_RECEIVING, 60), may_change=True)
        async with connection.request(5) as js:
            await js.publish("spillway.jobs.first", bytes(140_000))
        for _ in range(_MANY):
            with pytest.raises(StorageFull, match="insufficient resources"):
                await JobStream(connection).publish(Job(new_id(), 1000.0, 10, ()))
        assert connection.breaker.snapshot().state == BreakerState.CLOSED
        assert not connection.needs_setup
        await JobStream(connection).withdraw("first")
        await JobStream(connection).publish(Job(new_id(), 1000.0, 10, ()))
    finally:
        await connection.close()


@pytest.mark.anyio
async def test_a_bucket_that_cannot_be_made_says_why(small_nats: NatsServer) -> None:
    """The cause is not hidden behind the bucket's absence."""
    connection = NatsConnection([small_nats.url], engine_breaker())
    await connection.open()
    try:
        with pytest.raises(EngineDown, match="insufficient memory resources"):
            await rate_bucket(connection, GCRA.token_bucket(1, 10), max_clients=1000)
    finally:
        await connection.close()


def test_a_full_disk_stops_the_queue_only_while_it_is_full(
    small_nats: NatsServer, moto: Moto, tmp_path: Path
) -> None:
    """A job ends and leaves the queue though that cannot be told. One upload waits, others are refused."""
    url = small_nats.url
    shared: dict[str, object] = {
        "engine_url": url,
        "store_url": f"s3://{moto.new_bucket()}/photos",
        "variants": "thumb=96",
        "max_clients": 50,
        "burst": 1000,
    }
    with serving(tmp_path, **shared, workers=0) as replica, SpillwayWorker(tmp_path, **shared) as worker:
        child = worker.child
        os.kill(child, signal.SIGSTOP)
        ending = replica.taken().json()["id"]
        until(lambda: replica.status_of(ending) == "processing", "the job to be begun")
        fill_storage(url)
        os.kill(child, signal.SIGCONT)
        until(lambda: queued(url) == 0, "the job to leave the queue")
        waiting = replica.upload().json()["id"]
        until(lambda: replica.upload().status_code == 507, "uploads to be refused")
        refused = [replica.upload() for _ in range(_MANY)]
        for answer in refused:
            problem(answer, 507, "disk", guard="disk")
            assert int(answer.headers["retry-after"]) >= 1
        assert replica.stats()["breakers"]["engine"] == "closed"
        assert replica.get("/readyz").status == 200
        empty_storage(url)
        for job_id in (ending, waiting, replica.taken().json()["id"]):
            assert replica.ended(job_id)["status"] == "done"
        until(lambda: queued(url) == 0, "an empty queue")
