"""Several replicas and workers on one engine and one store: for a client they are one service."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from app.server.problems import REDUCED_CAPACITY
from tests.cluster.conftest import TIGHT, Cluster, Work
from tests.cluster.servers import Hand
from tests.cluster.streams import given_up, lose_patience, queued, told
from tests.service import Service, fresh_address, until
from tests.system.http.expect import problem


def at_once(services: list[Service], count: int) -> list[httpx.Response]:
    """So many uploads to the services in turn, all at the same time, each from an address of its own."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda number: services[number % len(services)].upload(), range(count)))


def held(hand: Hand, service: Service) -> str:
    """The id of a job that a worker has begun and does not get on with."""
    os.kill(hand.child, signal.SIGSTOP)
    answer = service.upload()
    assert answer.status_code == 202
    job_id = str(answer.json()["id"])
    until(lambda: service.status_of(job_id) == "processing", "the job to be begun")
    return job_id


def empty(cluster: Cluster) -> None:
    """Wait until nothing is in the queue."""
    until(lambda: queued(cluster.engine.url) == 0, "an empty queue")


def test_whoever_is_asked_knows_of_every_job(cluster: Cluster, work: Work) -> None:
    """Document, wait, events, bytes and removal, on the replica that did not take the upload."""
    here, there, before = cluster.here, cluster.there, cluster.jobs("done")
    hand = work()
    first = held(hand, here)
    second = here.upload().json()
    until(lambda: there.status_of(second["id"]) == "queued", "the other to hear of it")
    assert there.get(second["links"]["self"]).json()["position"] == 1
    with there.connect() as connection:
        connection.head(f"GET {second['links']['events']}")
        lines = connection.lines()
        assert "event: queued" in lines
        os.kill(hand.child, signal.SIGCONT)
        events = [line for line in lines if line.startswith("event: ")]
    assert events[-3:] == ["event: processing", "event: variant", "event: done"]
    assert there.ended(first)["status"] == "done"
    document = there.ended(second["id"])
    assert there.get(document["variants"]["thumb"]["url"]).status == 200
    removes(there, second)
    until(lambda: here.get(second["links"]["self"]).status == 404, "the removal to be known")
    empty(cluster)
    assert cluster.jobs("done") - before == 2
    assert [worker["state"] for worker in there.stats()["workers"]] == ["idle"]


def test_a_waiting_and_a_running_job_are_cancelled_from_anywhere(cluster: Cluster, work: Work) -> None:
    """Neither leaves anything in the queue, and the worker is free for the next."""
    here, there = cluster.here, cluster.there
    hand = work()
    os.kill(hand.child, signal.SIGSTOP)
    running, waiting, other = (here.upload().json() for _ in range(3))
    until(lambda: there.status_of(running["id"]) == "processing", "the first to be begun")
    removes(there, waiting)
    until(lambda: queued(cluster.engine.url) == 2, "the second to be out of the queue")
    with ThreadPoolExecutor(1) as threads:
        removal = threads.submit(removes, there, running)
        os.kill(hand.child, signal.SIGCONT)
        removal.result()
    for document in (running, waiting):
        assert here.get(document["links"]["self"]).status == 404
    for document in (other, here.upload().json()):
        assert here.ended(document["id"])["status"] == "done"
    empty(cluster)


def removes(service: Service, document: dict[str, Any]) -> None:
    """Delete an image with its token."""
    fields = {"authorization": f"Bearer {document['delete_token']}"}
    with service.client() as client:
        assert client.delete(document["links"]["self"], headers=fields).status_code == 204


def test_a_client_has_one_bucket_however_many_replicas_it_asks(cluster: Cluster) -> None:
    """Not one request more than the bucket holds gets past the bouncer; each replica tells what is left."""
    services = [cluster.here, cluster.there]
    address = fresh_address()

    def ask(number: int) -> int:
        """An upload that will never be taken: what it costs is a token."""
        with services[number % 2].client(address) as client:
            answer = client.post("/v1/images", content=b"x", headers={"content-type": "text/plain"})
            return answer.status_code

    with ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(ask, range(12)))
    assert (statuses.count(415), statuses.count(429)) == (3, 9)
    for service in services:
        with service.client(address) as client:
            assert client.get("/v1/quota").json()["remaining"] == 0


def test_the_queue_of_all_is_bounded_and_what_is_accepted_is_done(cluster: Cluster, work: Work) -> None:
    """However many come at once at all replicas: the rest is told to come back, and nothing is lost."""
    services, before = [cluster.here, cluster.there], cluster.jobs("done")
    size, dock = int(TIGHT["queue_size"]), int(TIGHT["max_receiving"])
    hand = work()
    first = held(hand, services[0])
    answers = at_once(services, 40)
    taken = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert 0 < len(taken) <= size + 2 * dock
    for answer in refused:
        assert problem(answer, 503, REDUCED_CAPACITY, guard="queue")["retry_after_ms"] > 0
    assert queued(cluster.engine.url) <= size + 2  # one in each hand; other tests had two
    os.kill(hand.child, signal.SIGCONT)
    for job_id in (first, *taken):
        assert services[1].ended(job_id)["status"] == "done"
    empty(cluster)
    until(lambda: sum(s.stats()["backlog"]["waiting"] for s in services) == 0, "nothing to wait")
    assert cluster.jobs("done") - before == len(taken) + 1


def test_a_job_whose_worker_was_killed_is_done_by_another(cluster: Cluster, work: Work) -> None:
    """Once it has been silent for long enough; the record and the counters know of one job."""
    before = [cluster.jobs(outcome) for outcome in ("accepted", "done", "failed")]
    hand = work()
    job_id = held(hand, cluster.here)
    hand.kill()
    work()
    lose_patience(cluster.engine.url, 1)
    assert cluster.here.ended(job_id)["status"] == "done"
    empty(cluster)
    after = [cluster.jobs(outcome) for outcome in ("accepted", "done", "failed")]
    assert [a - b for a, b in zip(after, before, strict=True)] == [1, 1, 0]


def test_a_job_that_ends_its_workers_is_given_up(cluster: Cluster, work: Work) -> None:
    """The third worker does not even try."""
    url = cluster.engine.url
    hand = work()
    job_id = held(hand, cluster.here)
    hand.kill()

    def begun_again() -> bool:
        job = told(url, job_id)
        return job.status == "processing" and job.deaths == 1

    second = work()
    os.kill(second.child, signal.SIGSTOP)
    lose_patience(url, 1)
    until(begun_again, "the second to begin")
    second.kill()
    work()
    lose_patience(url, 1)
    document = cluster.here.ended(job_id)
    assert document["status"] == "failed"
    assert document["problem"]["type"] == "/problems/worker-died"
    empty(cluster)
    assert given_up(url) == 1


def test_a_worker_that_is_told_to_end_finishes_what_it_has(cluster: Cluster, work: Work) -> None:
    """And exits with 0; nothing is left for another to do again."""
    hand = work()
    job_id = held(hand, cluster.here)
    hand.process.terminate()
    os.kill(hand.child, signal.SIGCONT)
    assert hand.finished() == 0
    assert cluster.here.status_of(job_id) == "done"
