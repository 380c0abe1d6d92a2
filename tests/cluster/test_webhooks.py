"""Webhooks of a cluster: each event is sent by one replica, and by another one if that dies."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext

from app.cluster.jetstream import EVENT_SENDERS, EVENTS
from tests import samples
from tests.cluster.conftest import Cluster, StartNats, StartWorker
from tests.cluster.streams import ask, queued
from tests.service import Service, serving, until
from tests.storage.servers import Moto
from tests.webhooks.receiver import SECRET, Receiver, receiving


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """One for all tests of the module."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def cluster(
    start_nats: StartNats, moto: Moto, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Two replicas that send webhooks; one of them is killed by a test."""
    nats_server = start_nats(tmp_path_factory.mktemp("nats"))
    settings = {
        "engine_url": nats_server.url,
        "store_url": f"s3://{moto.new_bucket()}/photos",
        "variants": "thumb=96",
        "burst": 100,
        "webhook_url": receiver.url,
        "webhook_secret": SECRET,
        "webhook_events": "image.done,image.completed,image.failed,image.deleted",
    }
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(serving(folder, **{**settings, "workers": 0})) for folder in folders
        )
        yield Cluster(nats_server, here, there, settings)


def shorten_patience(url: str) -> None:
    """Give the event of a silent replica to another one after a second."""

    async def shorten(js: JetStreamContext) -> None:
        config = (await js.consumer_info(EVENTS, EVENT_SENDERS)).config
        await js.add_consumer(EVENTS, replace(config, ack_wait=1))

    ask(url, shorten)


def delete(service: Service, document: Any) -> None:
    """Delete an image with its delete token."""
    fields = {"authorization": f"Bearer {document['delete_token']}"}
    with service.client() as client:
        assert client.delete(document["links"]["self"], headers=fields).status_code == 204


def owner_of(port: int, *services: Service) -> Service:
    """The service that has a connection from this port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = {fields[9] for fields in lines if fields[1].endswith(f":{port:04X}") and fields[3] == "01"}
    return next(service for service in services if f"socket:[{inode}]" in service.descriptors())


def test_each_event_is_sent_once_by_whichever_replica(
    cluster: Cluster, receiver: Receiver, start_worker: StartWorker
) -> None:
    """What a worker has made, what has failed, and what was removed at another replica."""
    start_worker()
    photo, broken = cluster.here.upload().json(), cluster.here.upload(samples.jpeg(64, 48)[:300]).json()
    receiver.waits_for(lambda: len(receiver.of(photo["id"])) == 2, "the photo")
    receiver.waits_for(lambda: receiver.types_of(broken["id"]) == ["image.failed"], "the failure")
    delete(cluster.there, photo)
    receiver.waits_for(lambda: len(receiver.of(photo["id"])) == 3, "the removal")
    assert sorted(receiver.types_of(photo["id"])) == ["image.completed", "image.deleted", "image.done"]
    for each in receiver.of(photo["id"]):
        assert each.verified()
    until(lambda: queued(cluster.nats.url, EVENTS) == 0, "an empty stream")
    stats = [service.stats()["webhook"] for service in (cluster.here, cluster.there)]
    assert sum(each["delivered"] for each in stats) == 4


def test_another_replica_sends_what_one_that_died_was_sending(
    cluster: Cluster, receiver: Receiver, start_worker: StartWorker
) -> None:
    """Killed in the middle of the request: the event is not lost, and keeps its id."""
    start_worker()
    shorten_patience(cluster.nats.url)
    receiver.hang.set()
    photo = cluster.here.upload().json()
    receiver.waits_for(lambda: len(receiver.of(photo["id"])) == 2, "two requests")
    tried = {each.id for each in receiver.of(photo["id"])}
    victim = owner_of(receiver.of(photo["id"])[0].port, cluster.here, cluster.there)
    victim.kill()
    receiver.hang.clear()
    receiver.waits_for(lambda: len(receiver.of(photo["id"])) >= 3, "another try")
    until(lambda: queued(cluster.nats.url, EVENTS) == 0, "an empty stream")
    assert {each.id for each in receiver.of(photo["id"])} == tried
