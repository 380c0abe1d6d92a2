"""Several replicas and workers on one engine and one store: for a client they are one service."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from app.problems import REDUCED_CAPACITY
from tests.cluster.conftest import Serve, Work
from tests.cluster.servers import Hand, NatsServer
from tests.cluster.streams import given_up, lose_patience, queued, told
from tests.http.expect import problem
from tests.service import Service, fresh_address, until


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


def test_whoever_is_asked_knows_of_every_job(serve: Serve, work: Work, nats: NatsServer) -> None:
    """Document, wait, events, bytes and removal, on the replica that did not take the upload."""
    here, there = serve(), serve()
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
    until(lambda: queued(nats.url) == 0, "an empty queue")
    assert here.stats()["jobs"]["done"] == 2
    assert [worker["state"] for worker in there.stats()["workers"]] == ["idle"]


def test_a_waiting_and_a_running_job_are_cancelled_from_anywhere(
    serve: Serve, work: Work, nats: NatsServer
) -> None:
    """Neither leaves anything in the queue, and the worker is free for the next."""
    here, there = serve(), serve()
    hand = work()
    os.kill(hand.child, signal.SIGSTOP)
    running, waiting, other = (here.upload().json() for _ in range(3))
    until(lambda: there.status_of(running["id"]) == "processing", "the first to be begun")
    removes(there, waiting)
    until(lambda: queued(nats.url) == 2, "the second to be out of the queue")
    with ThreadPoolExecutor(1) as threads:
        removal = threads.submit(removes, there, running)
        os.kill(hand.child, signal.SIGCONT)
        removal.result()
    for document in (running, waiting):
        assert here.get(document["links"]["self"]).status == 404
    for document in (other, here.upload().json()):
        assert here.ended(document["id"])["status"] == "done"


def removes(service: Service, document: dict[str, Any]) -> None:
    """Delete an image with its token."""
    fields = {"authorization": f"Bearer {document['delete_token']}"}
    with service.client() as client:
        assert client.delete(document["links"]["self"], headers=fields).status_code == 204


def test_a_client_has_one_bucket_however_many_replicas_it_asks(serve: Serve, work: Work) -> None:
    """Not one upload more than the bucket holds, and each tells what is left in all."""
    services = [serve(rate=0.01, burst=10), serve(rate=0.01, burst=10)]
    work()
    address = fresh_address()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: services[number % 2].upload(address=address), range(24)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(202), statuses.count(429)) == (10, 14)
    for service in services:
        with service.client(address) as client:
            assert client.get("/v1/quota").json()["remaining"] == 0


def test_the_queue_of_all_is_bounded_and_what_is_accepted_is_done(
    serve: Serve, work: Work, nats: NatsServer
) -> None:
    """However many come at once at all replicas: the rest is told to come back, and nothing is lost."""
    bounds = {"queue_size": 6, "max_receiving": 4, "client_share": 10}
    services = [serve(**bounds), serve(**bounds)]
    hand = work(**bounds)
    first = held(hand, services[0])
    answers = at_once(services, 40)
    taken = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert 0 < len(taken) <= 6 + 4 + 4
    for answer in refused:
        assert problem(answer, 503, REDUCED_CAPACITY, guard="queue")["retry_after_ms"] > 0
    assert queued(nats.url) <= 6 + 1
    os.kill(hand.child, signal.SIGCONT)
    for job_id in (first, *taken):
        assert services[1].ended(job_id)["status"] == "done"
    until(lambda: queued(nats.url) == 0, "an empty queue")
    until(lambda: sum(s.stats()["backlog"]["waiting"] for s in services) == 0, "nothing to wait")
    assert sum(service.stats()["jobs"]["done"] for service in services) == len(taken) + 1


def test_a_job_whose_worker_was_killed_is_done_by_another(serve: Serve, work: Work, nats: NatsServer) -> None:
    """Once it has been silent for long enough; the record and the counters know of one job."""
    service = serve()
    hand = work()
    job_id = held(hand, service)
    hand.kill()
    work()
    lose_patience(nats.url, 1)
    assert service.ended(job_id)["status"] == "done"
    until(lambda: queued(nats.url) == 0, "an empty queue")
    jobs = service.stats()["jobs"]
    assert (jobs["accepted"], jobs["done"], jobs["failed"]) == (1, 1, 0)


def test_a_job_that_ends_its_workers_is_given_up(serve: Serve, work: Work, nats: NatsServer) -> None:
    """The third worker does not even try."""
    service = serve()
    hand = work()
    job_id = held(hand, service)
    hand.kill()

    def begun_again() -> bool:
        job = told(nats.url, job_id)
        return job.status == "processing" and job.deaths == 1

    second = work()
    os.kill(second.child, signal.SIGSTOP)
    lose_patience(nats.url, 1)
    until(begun_again, "the second to begin")
    second.kill()
    work()
    lose_patience(nats.url, 1)
    document = service.ended(job_id)
    assert document["status"] == "failed"
    assert document["problem"]["type"] == "/problems/worker-died"
    until(lambda: queued(nats.url) == 0, "an empty queue")
    assert given_up(nats.url) == 1


def test_a_worker_that_is_told_to_end_finishes_what_it_has(serve: Serve, work: Work) -> None:
    """And exits with 0; nothing is left for another to do again."""
    service = serve()
    hand = work()
    job_id = held(hand, service)
    hand.process.terminate()
    os.kill(hand.child, signal.SIGCONT)
    assert hand.finished() == 0
    assert service.status_of(job_id) == "done"
