"""Several replicas and workers behave like one service."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx

from app.cluster.jetstream import LEASES
from app.server.problems import REDUCED_CAPACITY
from tests.cluster.conftest import TIGHT, Cluster, StartWorker
from tests.cluster.servers import SpillwayWorker
from tests.cluster.streams import given_up, queued, set_ack_wait, status_of
from tests.samples import jpeg
from tests.service import Service, fresh_address, until
from tests.system.http.expect import problem


def at_once(services: list[Service], count: int) -> list[httpx.Response]:
    """`count` uploads at the same time, each from a new address, spread evenly over the services."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda number: services[number % len(services)].upload(), range(count)))


def begun(worker: SpillwayWorker, service: Service) -> str:
    """The id of a job that a worker has begun and cannot finish, because its child process is stopped."""
    os.kill(worker.child, signal.SIGSTOP)
    answer = service.upload()
    assert answer.status_code == 202
    job_id = str(answer.json()["id"])
    until(lambda: service.status_of(job_id) == "processing", "the job to be begun")
    return job_id


def empty(cluster: Cluster) -> None:
    """Wait until the queue is empty."""
    until(lambda: queued(cluster.nats.url) == 0, "an empty queue")


def test_every_replica_knows_every_job(cluster: Cluster, start_worker: StartWorker) -> None:
    """A replica serves document, wait, events, bytes and deletion of an upload that another one took."""
    here, there, before = cluster.here, cluster.there, cluster.jobs("done")
    worker = start_worker()
    first = begun(worker, here)
    second = here.upload().json()
    until(lambda: there.status_of(second["id"]) == "queued", "the other replica to know the job")
    assert there.get(second["links"]["self"]).json()["position"] == 1
    with there.connect() as connection:
        connection.head(f"GET {second['links']['events']}")
        lines = connection.lines()
        assert "event: queued" in lines
        os.kill(worker.child, signal.SIGCONT)
        events = [line for line in lines if line.startswith("event: ")]
    assert events[-3:] == ["event: processing", "event: variant", "event: done"]
    assert there.ended(first)["status"] == "done"
    document = there.ended(second["id"])
    assert there.get(document["variants"]["thumb"]["url"]).status == 200
    delete(there, second)
    until(lambda: here.get(second["links"]["self"]).status == 404, "the deletion to be known")
    empty(cluster)
    assert cluster.jobs("done") - before == 2
    assert [worker["state"] for worker in there.stats()["workers"]] == ["idle"]


def test_a_waiting_and_a_running_job_are_cancelled_from_anywhere(
    cluster: Cluster, start_worker: StartWorker
) -> None:
    """A deletion at any replica empties the queue of the job and frees its worker for the next one."""
    here, there = cluster.here, cluster.there
    worker = start_worker()
    os.kill(worker.child, signal.SIGSTOP)
    running, waiting, other = (here.upload().json() for _ in range(3))
    until(lambda: there.status_of(running["id"]) == "processing", "the first job to be begun")
    delete(there, waiting)
    until(lambda: queued(cluster.nats.url) == 2, "the second job to leave the queue")
    with ThreadPoolExecutor(1) as threads:
        removal = threads.submit(delete, there, running)
        os.kill(worker.child, signal.SIGCONT)
        removal.result()
    for document in (running, waiting):
        assert here.get(document["links"]["self"]).status == 404
    for document in (other, here.upload().json()):
        assert here.ended(document["id"])["status"] == "done"
    empty(cluster)


def delete(service: Service, document: dict[str, Any]) -> None:
    """Delete an image with its delete token."""
    fields = {"authorization": f"Bearer {document['delete_token']}"}
    with service.client() as client:
        assert client.delete(document["links"]["self"], headers=fields).status_code == 204


def test_a_client_has_one_token_bucket_for_all_replicas(cluster: Cluster) -> None:
    """Requests spread over replicas get exactly the tokens of one bucket; each replica shows what is left."""
    services = [cluster.here, cluster.there]
    address = fresh_address()

    def ask(number: int) -> int:
        """Spend a token by an upload whose type is never accepted."""
        with services[number % 2].client(address) as client:
            answer = client.post("/v1/images", content=b"x", headers={"content-type": "text/plain"})
            return answer.status_code

    with ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(ask, range(12)))
    assert (statuses.count(415), statuses.count(429)) == (3, 9)
    for service in services:
        with service.client(address) as client:
            assert client.get("/v1/quota").json()["remaining"] == 0


def test_the_shared_queue_is_bounded_and_accepted_jobs_are_done(
    cluster: Cluster, start_worker: StartWorker
) -> None:
    """Of 40 uploads at once at two replicas, those beyond the queue get 503 and all others are done."""
    services, before = [cluster.here, cluster.there], cluster.jobs("done")
    queue_size, max_receiving = int(TIGHT["queue_size"]), int(TIGHT["max_receiving"])
    worker = start_worker()
    first = begun(worker, services[0])
    answers = at_once(services, 40)
    accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert 0 < len(accepted) <= queue_size + 2 * max_receiving
    for answer in refused:
        assert problem(answer, 503, REDUCED_CAPACITY, guard="queue")["retry_after_ms"] > 0
    assert queued(cluster.nats.url) <= queue_size + 2  # and one job for each worker; other tests had two
    os.kill(worker.child, signal.SIGCONT)
    for job_id in (first, *accepted):
        assert services[1].ended(job_id)["status"] == "done"
    empty(cluster)
    until(lambda: sum(s.stats()["backlog"]["waiting"] for s in services) == 0, "no waiting job")
    assert cluster.jobs("done") - before == len(accepted) + 1


def test_a_job_whose_worker_was_killed_is_done_by_another(
    cluster: Cluster, start_worker: StartWorker
) -> None:
    """A job is done by another worker when its own has been silent for long enough, and counts once."""
    before = [cluster.jobs(outcome) for outcome in ("accepted", "done", "failed")]
    worker = start_worker()
    job_id = begun(worker, cluster.here)
    worker.kill()
    start_worker()
    set_ack_wait(cluster.nats.url, 1)
    assert cluster.here.ended(job_id)["status"] == "done"
    empty(cluster)
    after = [cluster.jobs(outcome) for outcome in ("accepted", "done", "failed")]
    assert [a - b for a, b in zip(after, before, strict=True)] == [1, 1, 0]


def test_a_job_that_ends_its_workers_is_given_up(cluster: Cluster, start_worker: StartWorker) -> None:
    """A job that was begun by two workers that died is failed by the third, untried."""
    url = cluster.nats.url
    worker = start_worker()
    job_id = begun(worker, cluster.here)
    worker.kill()

    def is_begun_again() -> bool:
        job = status_of(url, job_id)
        return job.status == "processing" and job.deaths == 1

    second = start_worker()
    os.kill(second.child, signal.SIGSTOP)
    set_ack_wait(url, 1)
    until(is_begun_again, "the second worker to begin")
    second.kill()
    start_worker()
    set_ack_wait(url, 1)
    document = cluster.here.ended(job_id)
    assert document["status"] == "failed"
    assert document["problem"]["type"] == "/problems/worker-died"
    empty(cluster)
    assert given_up(url) == 1


def test_a_worker_finishes_its_jobs_on_sigterm(cluster: Cluster, start_worker: StartWorker) -> None:
    """On SIGTERM a worker finishes its job and exits with 0."""
    worker = start_worker()
    job_id = begun(worker, cluster.here)
    worker.process.terminate()
    os.kill(worker.child, signal.SIGCONT)
    assert worker.exit_status() == 0
    assert cluster.here.status_of(job_id) == "done"


def test_a_stall_of_nats_takes_no_receiving_slot(cluster: Cluster, start_worker: StartWorker) -> None:
    """Uploads whose request for a lease got no answer are refused, and leave all slots free."""
    start_worker()
    for number in range(int(TIGHT["max_receiving"]) + 2):
        cluster.nats.suspend()
        try:
            answers = at_once([cluster.here, cluster.there], 4)
        finally:
            cluster.nats.resume()
        assert {answer.status_code for answer in answers} == {503}, number
        until(lambda: cluster.here.get("/readyz").status == 200, "the replica to be ready")
        until(lambda: cluster.there.get("/readyz").status == 200, "the replica to be ready")
    until(lambda: queued(cluster.nats.url, LEASES) == 0, "no lease to be taken")
    assert cluster.here.upload().status_code == 202
    empty(cluster)


def test_another_file_under_the_same_key_does_not_replace_the_accepted_one(
    cluster: Cluster, start_worker: StartWorker
) -> None:
    """Of two files that two replicas receive under one Idempotency-Key, the first that is whole is made."""
    here, there, address = cluster.here, cluster.there, fresh_address()
    other = jpeg(120, 80)
    with there.connect(address) as late:
        late.head(
            "POST /v1/images",
            "content-type: image/jpeg",
            'idempotency-key: "twice"',
            f"content-length: {len(other)}",
        )
        late.send(other[:100])
        until(lambda: there.stats()["backlog"]["receiving"] == 1, "the other upload to be received")
        first = here.upload(address=address, **{"idempotency-key": '"twice"'})
        assert first.status_code == 202
        late.send(other[100:])
        assert late.answer().status == 409
    start_worker()
    document = there.ended(first.json()["id"])
    assert (document["source"]["width"], document["source"]["height"]) == (64, 48)
    empty(cluster)


def test_jobs_of_workers_that_end_are_handed_back(cluster: Cluster, start_worker: StartWorker) -> None:
    """A job outlives any number of restarts that it is too long for; another worker begins at once."""
    worker = start_worker(drain_timeout=1)
    job_id = begun(worker, cluster.here)
    for _ in range(3):
        successor = start_worker(drain_timeout=1)
        os.kill(successor.child, signal.SIGSTOP)
        worker.process.terminate()
        assert worker.exit_status() == 0
        assert "jobs_left=1" in worker.errors()
        until(lambda: cluster.here.status_of(job_id) == "processing", "the successor to begin", 5)
        assert status_of(cluster.nats.url, job_id).deaths == 0
        worker = successor
    os.kill(worker.child, signal.SIGCONT)
    until(lambda: cluster.here.status_of(job_id) == "done", "the job to be done", 8)
    empty(cluster)


def test_a_worker_that_ends_holds_no_job_back(cluster: Cluster, start_worker: StartWorker) -> None:
    """An upload that comes while one worker ends is done by the other one without a pause."""
    for _ in range(5):
        ending, staying = start_worker(), start_worker()
        ending.process.terminate()
        status = partial(cluster.here.status_of, cluster.here.taken().json()["id"])
        until(lambda status=status: status() == "done", "the job to be done", 12)  # 15 s if it were held
        assert ending.exit_status() == 0
        staying.kill()
    empty(cluster)
