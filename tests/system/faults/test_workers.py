"""Workers hang, crash, ignore signals, or are killed for their memory: no job is lost, and no other waits."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import samples
from tests.conftest import Start
from tests.processes import unable_to_fork
from tests.service import Service, children, gone, is_running, serving, until
from tests.system.http.expect import problem

HEAVY = samples.png(6000, 4000, compress_level=1)
"""A photo that keeps a worker busy for a moment that can be caught, and takes 72 MB as pixels."""
GROUPS = Path("/sys/fs/cgroup/memory")


def fork_of(service: Service) -> int:
    """The process that works on the only job of the only worker."""

    def found() -> int | None:
        if any(worker["state"] != "busy" for worker in service.stats()["workers"]):
            return None
        forks = [fork for worker in service.workers() for fork in children(worker)]
        return forks[0] if forks else None

    return int(until(found, "a job's process"))


def worker_of(service: Service) -> int:
    """The only worker, once every other process that starts with the service is gone."""
    return int(until(lambda: len(pids := service.workers()) == 1 and pids[0], "the worker alone"))


@pytest.fixture(scope="module")
def hardy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service with one worker, for all tests that it survives."""
    with serving(tmp_path_factory.mktemp("hardy")) as service:
        worker_of(service)
        yield service


class TestHang:
    """A process is stopped by SIGSTOP, and so does nothing that is asked of it."""

    def test_a_worker(self, start: Start) -> None:
        """It is killed when its job's deadline has long passed, and replaced; its job is done by another.

        The jobs themselves need a hundredth of that deadline, so that they keep it on a busy machine too.
        """
        service = start(workers=2, job_timeout=5, variants="thumb=96")
        stopped, _ = until(lambda: len(pids := service.workers()) == 2 and pids, "the workers alone")
        os.kill(stopped, signal.SIGSTOP)
        jobs: list[str] = []

        def one_stays_busy() -> bool:
            """Whether the stopped worker has a job: the other one has done what came after it."""
            jobs.append(service.upload().json()["id"])
            busy = [worker for worker in service.stats()["workers"] if worker["state"] == "busy"]
            return len(jobs) >= 4 and len(busy) == 1 and busy[0]["jobs"] == 0

        until(one_stays_busy, "the stopped worker to have a job")
        hung = [job for job in jobs if service.status_of(job) == "processing"]
        assert hung, "no job is taken for done whose worker hangs"
        assert is_running(stopped)
        assert service.upload(prefer="wait=20").status_code == 201, "the other worker goes on"
        for job in jobs:
            assert service.ended(job)["status"] == "done"
        assert not is_running(stopped)
        assert sum(worker["restarts"] for worker in service.settled()["workers"]) == 1

    def test_a_job_s_own_process(self, start: Start) -> None:
        """The process of a job is killed by its worker at the deadline; the worker goes on."""
        service = start(job_timeout=1.5)
        document = service.upload(HEAVY).json()
        fork = fork_of(service)
        os.kill(fork, signal.SIGSTOP)
        worker = worker_of(service)
        assert service.ended(document["id"])["problem"]["type"] == "/problems/too-slow"
        assert not is_running(fork)
        assert service.upload(prefer="wait=5").status_code == 201
        assert service.workers() == [worker]


class TestDeaf:
    """A worker does not end when it is asked to."""

    def test_to_sigterm(self, hardy: Service) -> None:
        """The worker goes on: only its server ends it."""
        worker = worker_of(hardy)
        document = hardy.upload(HEAVY).json()
        fork_of(hardy)
        os.kill(worker, signal.SIGTERM)
        assert hardy.ended(document["id"])["status"] == "done"
        assert hardy.workers() == [worker]

    def test_to_everything(self, start: Start) -> None:
        """The end of the service does not wait for the worker; its job is done after a restart."""
        service = start(drain_timeout=0.5)
        worker = worker_of(service)
        os.kill(worker, signal.SIGSTOP)
        document = service.upload().json()
        assert service.stop() == 0, "long before the deadline of the job, at which the worker would be killed"
        gone(worker)
        service.start()
        assert service.ended(document["id"])["status"] == "done"


class TestCrash:
    """The process of a job dies as native code makes it die."""

    @pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
    def test_once(self, hardy: Service, number: signal.Signals) -> None:
        """The job is tried again by the same worker, and done."""
        worker = worker_of(hardy)
        document = hardy.upload(HEAVY).json()
        os.kill(fork_of(hardy), number)
        assert hardy.ended(document["id"])["status"] == "done"
        assert hardy.workers() == [worker]

    def test_twice(self, hardy: Service) -> None:
        """The job fails with its reason, and none of its files is left but the record."""
        document = hardy.upload(HEAVY).json()
        first = fork_of(hardy)
        os.kill(first, signal.SIGSEGV)
        gone(first)
        os.kill(fork_of(hardy), signal.SIGSEGV)
        assert hardy.ended(document["id"])["problem"]["type"] == "/problems/worker-died"
        hardy.settled()
        left = [name for name in hardy.stored() if document["id"] in name]
        assert left == [f"images/{document['id'][:2]}/{document['id']}/job.json"]
        assert hardy.get("/readyz").status == 200, "no image may close the service"

    def test_the_worker_itself(self, hardy: Service) -> None:
        """The job is tried again, and the worker is replaced."""
        before = hardy.settled()["workers"][0]["restarts"]
        document = hardy.upload(HEAVY).json()
        fork_of(hardy)
        os.kill(worker_of(hardy), signal.SIGSEGV)
        assert hardy.ended(document["id"])["status"] == "done"
        assert hardy.settled()["workers"][0]["restarts"] == before + 1


class TestNoProcess:
    """The machine has no room for a job's process: the limit of the user or of the container is reached."""

    def test_jobs_wait(self, hardy: Service) -> None:
        """They are done when there is room; until then nothing has died, and the service stays open."""
        hardy.settled()
        worker = worker_of(hardy)
        before = hardy.stats()
        with unable_to_fork(worker):
            documents = [hardy.upload().json() for _ in range(2)]
            until(lambda: "there was no process for the job" in hardy.errors(), "a job to be given back")
            assert hardy.get("/readyz").status == 200
            assert {hardy.status_of(each["id"]) for each in documents} <= {"queued", "processing"}
        for document in documents:
            assert hardy.ended(document["id"])["status"] == "done"
        assert hardy.workers() == [worker]
        after = hardy.settled()
        assert after["workers"][0]["restarts"] == before["workers"][0]["restarts"]
        assert after["jobs"]["failed"] == before["jobs"]["failed"]


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A control group (version 1) whose processes have `limit` bytes of memory together."""
    group = GROUPS / f"spillway-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group of memory can be made here: {error}")
    try:
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (GROUPS / "cgroup.procs").write_text(pid)
        until(lambda: not (group / "cgroup.procs").read_text(), "the group to be empty")
        group.rmdir()


class TestMemory:
    """An image needs more memory than there is."""

    def test_past_the_limit(self, start: Start) -> None:
        """The job fails with `too-much-memory`; the next one is done."""
        service = start(worker_memory="64MiB")
        problem(service.upload(HEAVY, prefer="wait=20"), 422, "too-much-memory")
        assert service.upload(prefer="wait=20").status_code == 201
        assert service.stats()["workers"][0]["restarts"] == 0

    def test_the_kernel_s_killer(self, start: Start) -> None:
        """A job that the kernel kills is tried again and fails the second time; the next one is done."""
        service = start()
        with memory_group(24 * 2**20) as group:
            worker = worker_of(service)
            (group / "cgroup.procs").write_text(str(worker))
            answer = service.upload(HEAVY, prefer="wait=20")
            killed = answer.status_code == 500
            # A worker that was killed itself is replaced outside the group, and its job is done there.
            assert killed or answer.status_code == 201
            if killed:
                problem(answer, 500, "worker-died")
            assert service.upload(prefer="wait=20").status_code == 201
            kills = (group / "memory.oom_control").read_text()
            assert "oom_kill 0" not in kills, kills
