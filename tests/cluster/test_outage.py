"""NATS goes away and comes back: uploads are refused meanwhile, and nothing that was accepted is lost."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.server.problems import REDUCED_CAPACITY
from tests.cluster.conftest import Cluster, StartWorker
from tests.cluster.streams import queued
from tests.service import COMMAND, PATIENCE, Service, environment, fresh_address, run, until
from tests.storage.servers import Moto
from tests.system.http.expect import problem


def check_outage(
    cluster: Cluster, start_worker: StartWorker, begin: Callable[[], None], end: Callable[[], None]
) -> None:
    """Have an outage, and check everything that is promised for it."""
    here, there, before = cluster.here, cluster.there, cluster.jobs("done")
    worker = start_worker()
    done = here.ended(here.upload().json()["id"])
    os.kill(worker.child, signal.SIGSTOP)
    accepted = [service.upload().json()["id"] for service in (here, there, here)]
    begin()
    started = time.monotonic()
    until(lambda: here.stats()["breakers"]["engine"] != "closed", "the breaker to open")
    assert time.monotonic() - started < 2
    check_degraded_service(here, done)
    os.kill(worker.child, signal.SIGCONT)
    end()
    until(
        lambda: here.get("/readyz").status == there.get("/readyz").status == 200, "both replicas to be ready"
    )
    for job_id in accepted:
        assert there.ended(job_id)["status"] == "done"
    assert here.ended(there.taken().json()["id"])["status"] == "done"
    until(lambda: queued(cluster.nats.url) == 0, "an empty queue")
    assert cluster.jobs("done") - before == 5
    log = here.errors()
    begun = log.count("the engine is away: circuit breaker opened")
    assert 1 <= begun == log.count("the engine is back: circuit breaker closed")


def check_degraded_service(service: Service, done: dict[str, dict[str, dict[str, str]]]) -> None:
    """Uploads get 503 and, past their limit, 429; variants are served; the process is alive, not ready."""
    address = fresh_address()

    def opened() -> bool:
        answer = service.upload()
        return answer.status_code == 503 and "breaker" in answer.text

    until(opened, "uploads to get 503")
    refused = [service.upload(address=address) for _ in range(5)]
    assert [answer.status_code for answer in refused] == [503] * 3 + [429] * 2
    assert problem(refused[0], 503, REDUCED_CAPACITY, guard="breaker")["retry_after_ms"] > 0
    until(lambda: service.get("/readyz").status == 503, "the replica not to be ready")
    assert service.get("/healthz").status == 200
    assert service.get(done["variants"]["thumb"]["url"]).status == 200


def test_an_outage_by_a_hang_loses_nothing(cluster: Cluster, start_worker: StartWorker) -> None:
    """The NATS server keeps its connections and answers nothing."""
    check_outage(cluster, start_worker, cluster.nats.suspend, cluster.nats.resume)


def test_an_outage_by_a_crash_loses_nothing(cluster: Cluster, start_worker: StartWorker) -> None:
    """The NATS server comes back with the streams on disk and without those in memory."""
    check_outage(cluster, start_worker, cluster.nats.kill, cluster.nats.start)


def test_a_replica_without_nats_does_not_start(tmp_path: Path, moto: Moto) -> None:
    """It says why in one line, and never that it is ready."""
    store = f"s3://{moto.new_bucket()}/photos"
    done = run("serve", folder=tmp_path, engine_url="nats://127.0.0.1:9", store_url=store, port=0, workers=1)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("spillway: the engine at 127.0.0.1:9 cannot be reached")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_signal_ends_a_start_while_nats_does_not_answer(
    tmp_path: Path, moto: Moto, number: signal.Signals, command: str
) -> None:
    """With status 0, though a replica answers clients by then."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        engine = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [COMMAND, command],
            cwd=tmp_path,
            env=environment(engine_url=engine, store_url=f"s3://{moto.new_bucket()}/a", port=0, workers=1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
        connection.close()
    assert (process.returncode, output) == (0, b""), errors
    assert b"Traceback" not in errors


@pytest.mark.parametrize("command", ["serve", "worker", "check"])
def test_a_store_of_one_process_is_refused_for_many(tmp_path: Path, command: str) -> None:
    """A replica would put photos where no worker finds them."""
    done = run(command, folder=tmp_path, engine_url="nats://127.0.0.1:9", port=0, workers=1)
    assert done.returncode in (1, 2)
    assert "STORE_URL=file: is for a single process" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_worker_needs_an_engine(tmp_path: Path) -> None:
    """`spillway worker` with the local engine exits with one clear line: it would have no queue."""
    done = run("worker", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("spillway: a worker needs SPILLWAY_ENGINE_URL")
