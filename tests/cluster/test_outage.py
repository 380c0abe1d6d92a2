"""The engine goes away and comes back: the service degrades, and then all is as before."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from app.server.problems import REDUCED_CAPACITY
from tests.cluster.conftest import Cluster, Work
from tests.cluster.streams import queued
from tests.service import Service, fresh_address, run, until
from tests.system.http.expect import problem


def outage(cluster: Cluster, work: Work, begin: Callable[[], None], end: Callable[[], None]) -> None:
    """Everything that is promised for it."""
    here, there, before = cluster.here, cluster.there, cluster.jobs("done")
    hand = work()
    done = here.ended(here.upload().json()["id"])
    os.kill(hand.child, signal.SIGSTOP)
    accepted = [service.upload().json()["id"] for service in (here, there, here)]
    begin()
    started = time.monotonic()
    until(lambda: here.stats()["breakers"]["engine"] != "closed", "the breaker to open")
    assert time.monotonic() - started < 2
    degrades(here, done)
    os.kill(hand.child, signal.SIGCONT)
    end()
    until(lambda: here.get("/readyz").status == there.get("/readyz").status == 200, "all to be ready")
    for job_id in accepted:
        assert there.ended(job_id)["status"] == "done"
    assert here.ended(there.taken().json()["id"])["status"] == "done"
    until(lambda: queued(cluster.engine.url) == 0, "an empty queue")
    assert cluster.jobs("done") - before == 5


def degrades(service: Service, done: dict[str, dict[str, dict[str, str]]]) -> None:
    """Uploads are refused, limited all the same; what is made is served; the process is well."""
    address = fresh_address()

    def opened() -> bool:
        answer = service.upload()
        return answer.status_code == 503 and "breaker" in answer.text

    until(opened, "uploads to be refused")
    refused = [service.upload(address=address) for _ in range(5)]
    assert [answer.status_code for answer in refused] == [503] * 3 + [429] * 2
    assert problem(refused[0], 503, REDUCED_CAPACITY, guard="breaker")["retry_after_ms"] > 0
    until(lambda: service.get("/readyz").status == 503, "it to be called unready")
    assert service.get("/healthz").status == 200
    assert service.get(done["variants"]["thumb"]["url"]).status == 200


def test_an_engine_that_hangs_loses_nothing(cluster: Cluster, work: Work) -> None:
    """Connections stay, and nothing is answered: nobody says that it is an outage."""
    outage(cluster, work, cluster.engine.hang, cluster.engine.resume)


def test_an_engine_that_is_killed_loses_nothing(cluster: Cluster, work: Work) -> None:
    """It comes back with what it had on disk, and without what it had in memory."""
    outage(cluster, work, cluster.engine.die, cluster.engine.start)


def test_a_process_whose_engine_is_not_there_does_not_start(tmp_path: Path) -> None:
    """It says so in one line, after the warning that its store is for one process alone."""
    done = run("serve", folder=tmp_path, engine_url="nats://127.0.0.1:9", port=0, workers=1)
    assert done.returncode != 0
    warning, reason = done.stderr.splitlines()
    assert warning.startswith("spillway: warning: STORE_URL=file:")
    assert reason.startswith("spillway: the engine at 127.0.0.1:9 cannot be reached")


def test_a_worker_needs_an_engine(tmp_path: Path) -> None:
    """With a queue in another process there would be nothing to do for it."""
    done = run("worker", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("spillway: a worker needs SPILLWAY_ENGINE_URL")
