"""A real service on a store in a bucket: clients see what they see with a directory, also when it fails."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.server.problems import REDUCED_CAPACITY
from tests import samples
from tests.service import Service, run, serving, until
from tests.storage.servers import Ceph, S3Server
from tests.system.http.expect import problem
from tests.webhooks.receiver import SECRET, receiving


@pytest.fixture
def service(bucket: str, tmp_path: Path) -> Iterator[Service]:
    """A service on the bucket."""
    with serving(tmp_path, store_url=f"s3://{bucket}/photos", rate=1000, burst=1000) as service:
        yield service


def names(server: S3Server, bucket: str, folder: str) -> list[str]:
    """The objects in a folder of the store."""
    found = server.client().list_objects_v2(Bucket=bucket, Prefix=f"photos/{folder}/")
    return [entry["Key"] for entry in found.get("Contents", [])]


def at_once(service: Service, count: int) -> list[httpx.Response]:
    """The answers to `count` uploads at the same time."""
    with ThreadPoolExecutor(count) as crowd:
        return list(crowd.map(lambda _: service.upload(), range(count)))


def test_the_life_of_an_image_in_the_bucket(service: Service, server: S3Server, bucket: str) -> None:
    """It is uploaded, made, served whole, in part and as not modified, and deleted."""
    document = service.upload(samples.jpeg(1800, 1400), prefer="wait=20").json()
    assert document["status"] == "done"
    assert len(names(server, bucket, "images")) == len(document["variants"]) == 4
    assert names(server, bucket, "sources") == []
    large = document["variants"]["large"]
    whole = service.get(large["url"])
    assert (whole.status, len(whole.body)) == (200, large["bytes"])
    part = service.get(large["url"], "Range: bytes=1000-1999")
    assert (part.status, part.body) == (206, whole.body[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{large['bytes']}"
    tail = service.get(large["url"], "Range: bytes=-7")
    assert tail.body == whole.body[-7:]
    assert service.get(large["url"], f"If-None-Match: {whole.headers['etag']}").status == 304
    with service.client() as client:
        assert client.head(large["url"]).headers["content-length"] == str(large["bytes"])
        self = document["links"]["self"]
        assert client.delete(self, headers={"authorization": "Bearer wrong"}).status_code == 403
        fields = {"authorization": f"Bearer {document['delete_token']}"}
        assert client.delete(self, headers=fields).status_code == 204
        assert client.get(self).status_code == client.get(large["url"]).status_code == 404
    assert names(server, bucket, "records") == names(server, bucket, "images") == []
    assert service.stats()["store_bytes"] == 0


def test_a_webhook_waits_in_the_bucket(server: S3Server, bucket: str, tmp_path: Path) -> None:
    """It survives a kill of the service while the receiver does not answer, and is removed afterwards."""
    with receiving() as receiver:
        receiver.hang.set()
        settings = {"webhook_url": receiver.url, "webhook_secret": SECRET, "variants": "thumb=16"}
        with serving(tmp_path, store_url=f"s3://{bucket}/photos", **settings) as service:
            job_id = service.upload(prefer="wait=20").json()["id"]
            until(lambda: receiver.of(job_id), "a request")
            assert len(names(server, bucket, "outbox")) == 1
            service.kill()
            receiver.hang.clear()
            service.start()
            until(lambda: len(receiver.of(job_id)) == 2, "another request")
            until(lambda: not names(server, bucket, "outbox"), "an empty outbox")
        assert len({each.id for each in receiver.of(job_id)}) == 1


def test_accepted_jobs_survive_kill_9(service: Service, server: S3Server, bucket: str) -> None:
    """One was under way and others waited, and the temporary folder of this machine is lost."""
    service.settled()
    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    answers = at_once(service, 6)
    assert {answer.status_code for answer in answers} == {202}
    assert len(names(server, bucket, "sources")) == 6
    service.kill()
    service.start()
    for answer in answers:
        assert service.ended(answer.json()["id"])["status"] == "done"
    stats = service.settled()
    assert (stats["jobs"]["done"], stats["jobs"]["failed"]) == (6, 0)
    assert names(server, bucket, "sources") == []
    with service.client() as client:
        for document in (answer.json() for answer in answers):
            fields = {"authorization": f"Bearer {document['delete_token']}"}
            assert client.delete(document["links"]["self"], headers=fields).status_code == 204


def outage(service: Service, begin: Callable[[], None], end: Callable[[], None]) -> None:
    """The store fails for a while: uploads are refused, the process stays healthy, then all works again."""
    service.settled()
    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    held = service.upload()
    assert held.status_code == 202
    begin()
    os.kill(worker, signal.SIGCONT)
    answers = at_once(service, 6)
    assert {answer.status_code for answer in answers} == {503}
    refused = service.upload()
    assert 0 < problem(refused, 503, REDUCED_CAPACITY, guard="breaker")["retry_after_ms"] <= 60_000
    assert service.stats()["breakers"]["store"] == "open"
    assert service.get("/readyz").status == 503
    assert service.get("/healthz").status == 200
    end()
    taken = service.taken()
    for answer in (held, taken):
        assert service.ended(answer.json()["id"])["status"] == "done"
    assert service.stats()["breakers"] == {"workers": "closed", "store": "closed"}
    assert service.get("/readyz").status == 200
    document = service.ended(taken.json()["id"])
    assert service.get(document["variants"]["thumb"]["url"]).status == 200


def test_a_store_that_hangs_opens_the_breaker_and_closes_it_again(service: Service, server: S3Server) -> None:
    """It accepts connections and never answers, so only time limits notice it."""
    outage(service, server.hang, server.resume)


@pytest.mark.parametrize("server", ["ceph"], indirect=True)
def test_a_store_that_is_down_opens_the_breaker_and_comes_back(service: Service, server: S3Server) -> None:
    """It refuses connections, and returns later with everything that was stored."""
    assert isinstance(server, Ceph)
    outage(service, server.die, server.come_back)


def test_a_service_whose_store_hangs_does_not_start(bucket: str, server: S3Server, tmp_path: Path) -> None:
    """It says so within seconds, in one line."""
    server.hang()
    try:
        done = run("serve", folder=tmp_path, store_url=f"s3://{bucket}", port=0, workers=1)
    finally:
        server.resume()
    assert done.returncode != 0
    assert done.stderr == f"spillway: the store s3://{bucket} cannot be used: no answer within 2 s\n"


def test_a_service_without_its_store_does_not_start(bucket: str, server: S3Server, tmp_path: Path) -> None:
    """It says in one line what is wrong, without a traceback."""
    done = run("serve", folder=tmp_path, store_url="s3://spill-elsewhere/photos", port=0, workers=1)
    assert done.returncode != 0
    assert "the store s3://spill-elsewhere/photos cannot be used: there is no such bucket" in done.stderr
    assert "Traceback" not in done.stderr
