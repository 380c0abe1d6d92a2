"""kill -9 of the service, a worker, or a job's process: nothing accepted is lost, no process left over."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import samples
from tests.conftest import Start
from tests.service import Service, children, gone, serving, until
from tests.system.http.expect import problem


def busy_fork(service: Service) -> int:
    """The process that works on a job at the moment."""

    def found() -> int | None:
        if all(worker["state"] != "busy" for worker in service.stats()["workers"]):
            return None  # a worker that starts forks as well, for its canary
        forks = [fork for worker in service.workers() for fork in children(worker)]
        return forks[0] if forks else None

    return int(until(found, "a job's process"))


HEAVY = samples.png(8000, 6000, compress_level=1)
"""A photo that keeps a worker busy for a moment that can be caught."""


@pytest.fixture(scope="module")
def hardy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that it survives."""
    with serving(tmp_path_factory.mktemp("hardy")) as service:
        yield service


class TestService:
    """The service itself is killed."""

    def test_does_everything_after_a_restart(self, start: Start) -> None:
        """Every accepted job ends, once, after kill -9 with jobs running and waiting; ids and tokens stay."""
        service = start()
        finished = service.upload(prefer="wait=20").json()
        with service.paused() as (running,):
            queued = [service.upload() for _ in range(5)]
            broken = service.upload(samples.bomb_gif())
            half = service.connect()
            half.head("POST /v1/images", "Content-Type: image/jpeg", "Content-Length: 900000")
            half.send(samples.SECRET * 10_000)
            service.kill()
        half.close()
        service.start()
        for answer in (running, *queued):
            assert service.ended(answer.json()["id"])["status"] == "done"
        assert service.ended(broken.json()["id"])["problem"]["type"] == "/problems/too-many-pixels"
        stats = service.settled()
        assert (stats["jobs"]["done"], stats["jobs"]["failed"]) == (6, 1)
        assert not [name for name in service.stored() if not name.startswith("images/")]
        with service.client() as client:
            assert client.get(finished["variants"]["thumb"]["url"]).status_code == 200
            for document in (finished, queued[0].json()):
                fields = {"authorization": f"Bearer {document['delete_token']}"}
                assert client.delete(document["links"]["self"], headers=fields).status_code == 204
        assert service.stop() == 0

    def test_leaves_no_orphans(self, start: Start) -> None:
        """Workers and their forks end with the service, even in the middle of a job."""
        service = start(workers=2)
        answer = service.upload(HEAVY)
        assert answer.status_code == 202
        family = [busy_fork(service), *service.workers()]
        assert len(family) == 3
        service.kill()
        for pid in family:
            gone(pid)
        service.start()
        assert service.ended(answer.json()["id"])["status"] == "done"
        assert service.stop() == 0

    def test_a_killed_start_harms_nothing(self, start: Start) -> None:
        """A record that a crash left half written is repaired, and its photo not lost."""
        service = start()
        with service.paused():
            document = service.upload().json()
            service.kill()
        home = service.store / "images" / document["id"][:2] / document["id"]
        record = (home / "job.json").read_bytes()
        (home / "job.json").write_bytes(record[: len(record) // 2])
        (home / "job.json.new").write_bytes(b"{")
        service.start()
        assert service.ended(document["id"])["status"] == "done"
        assert service.stop() == 0


class TestWorker:
    """A worker is killed."""

    def test_its_job_is_tried_again(self, hardy: Service) -> None:
        """The job is tried once more and done, and the worker is replaced."""
        before = hardy.stats()
        with hardy.paused() as (running,):
            (worker,) = hardy.workers()
            os.kill(worker, signal.SIGKILL)
        assert hardy.ended(running.json()["id"])["status"] == "done"
        after = hardy.settled()
        assert after["workers"][0]["restarts"] == before["workers"][0]["restarts"] + 1
        assert after["jobs"]["done"] == before["jobs"]["done"] + 1
        assert hardy.workers() != [worker]

    def test_a_job_that_kills_twice_fails(self, hardy: Service) -> None:
        """It ends with `worker-died`, 500, after one retry; waiting clients are told; the next is done."""
        before = hardy.settled()
        with ThreadPoolExecutor(1) as thread:
            waited = thread.submit(hardy.upload, HEAVY, prefer="wait=60")
            for _ in range(2):
                fork = busy_fork(hardy)
                (worker,) = hardy.workers()
                os.kill(worker, signal.SIGKILL)
                gone(fork)
            answer = waited.result()
        problem(answer, 500, "worker-died")
        assert hardy.settled()["jobs"]["failed"] == before["jobs"]["failed"] + 1
        assert hardy.upload(prefer="wait=20").status_code == 201
        assert not [name for name in hardy.stored() if name.startswith(("work/", "spool/"))]

    def test_idle_ones_are_replaced(self, hardy: Service) -> None:
        """A worker that dies without a job costs no job."""
        hardy.settled()
        (worker,) = hardy.workers()
        os.kill(worker, signal.SIGKILL)
        gone(worker)
        assert hardy.upload(prefer="wait=20").status_code == 201

    def test_idle_deaths_are_no_job_s_fault(self, hardy: Service) -> None:
        """A job given to a dead worker still has both of its attempts, so that one more worker may die."""
        hardy.settled()
        (worker,) = hardy.workers()
        os.kill(worker, signal.SIGKILL)
        gone(worker)
        document = hardy.upload(HEAVY).json()
        busy_fork(hardy)
        (worker,) = hardy.workers()
        os.kill(worker, signal.SIGKILL)
        assert hardy.ended(document["id"])["status"] == "done"

    def test_a_job_process_that_is_killed(self, hardy: Service) -> None:
        """The job is tried once more, and the worker lives on."""
        hardy.settled()
        answer = hardy.upload(HEAVY)
        os.kill(busy_fork(hardy), signal.SIGKILL)
        (worker,) = hardy.workers()
        assert hardy.ended(answer.json()["id"])["status"] == "done"
        assert hardy.workers() == [worker]

    def test_too_slow(self, start: Start) -> None:
        """A job past JOB_TIMEOUT is killed and fails."""
        service = start(job_timeout=0.2)
        answer = service.upload(HEAVY, prefer="wait=20")
        problem(answer, 422, "too-slow")
        (worker,) = service.workers()
        assert children(worker) == []


class TestLoaded:
    """What the process of a worker has loaded."""

    def test_no_web_framework(self, hardy: Service) -> None:
        """No worker has FastAPI, its server or this service's web layer in memory."""
        hardy.settled()
        assert any("pydantic_core" in line for line in mapped(hardy.pid))
        for worker in hardy.workers():
            files = mapped(worker)
            assert any("_imaging" in line for line in files)
            for word in ("pydantic_core", "httptools", "uvloop"):
                assert not [line for line in files if word in line]
            command = Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")
            assert command[1:4] == [b"-P", b"-m", b"workers"]

    def test_no_settings(self, hardy: Service) -> None:
        """A worker's environment holds none of the service's settings."""
        hardy.settled()
        for worker in hardy.workers():
            assert b"SPILLWAY_" not in Path(f"/proc/{worker}/environ").read_bytes()


def mapped(pid: int) -> list[Any]:
    """The files that a process has mapped."""
    return [line.split()[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
