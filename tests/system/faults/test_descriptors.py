"""The process has reached its limit of open files."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.service import Connection, Service, until
from tests.system.faults.conftest import Faulty

PLENTY = 300


def is_there(service: Service) -> bool:
    """Whether a new client is answered."""
    try:
        return service.get("/healthz").status == 200
    except (OSError, AssertionError):  # reset, or closed
        return False


@contextmanager
def streams(service: Service) -> Iterator[list[Connection]]:
    """Open event streams until no more are accepted; none of the connections is idle."""
    with ExitStack() as stack:
        held: list[Connection] = []

        def hold() -> bool:
            try:
                connection = stack.enter_context(service.connect(f"127.0.99.{1 + len(held) // 16}"))
                connection.head("GET /v1/stats/stream")
                assert connection.socket.recv(100)
            except (OSError, AssertionError):
                return False
            held.append(connection)
            return True

        while hold():
            assert len(held) < PLENTY
        yield held


def test_idle_connections_make_room(limited: Faulty) -> None:
    """Idle ones of the address that has most are closed; a client that asks now and then keeps its own."""
    service = limited("--nofile=100")
    with ExitStack() as stack, service.client() as patient:
        assert patient.get("/healthz").status_code == 200
        crowd = [stack.enter_context(service.connect("127.0.99.99")) for _ in range(PLENTY)]
        assert patient.get("/healthz").status_code == 200
        assert service.upload(prefer="wait=20").status_code == 201
        crowd[-1].head("GET /healthz")
        assert crowd[-1].answer().status == 200, (
            "room was made before idle connections reached their deadline"
        )


def test_everything_taken(limited: Faulty) -> None:
    """New connections are closed while no file is free and served afterwards; no accepted job is lost."""
    service = limited("--nofile=64", rate=1000, burst=1000)
    with service.paused() as (running,):
        waiting = [service.upload() for _ in range(2)]
        with streams(service) as held:
            assert len(held) > 10
            assert not is_there(service)
            # The outcome of a job cannot be written without a free file either; that is done later.
            (worker,) = service.workers()
            os.kill(worker, signal.SIGCONT)
            until(lambda: "Too many open files" in service.errors(), "a job to miss its file")
            assert service.process.poll() is None
    until(lambda: is_there(service), "room")
    for answer in (running, *waiting):
        assert service.ended(answer.json()["id"])["status"] == "done"
    assert service.taken(prefer="wait=20").status_code == 201
    assert len(service.descriptors()) < 40


def test_lingering_connections_leave_files_for_the_store(limited: Faulty) -> None:
    """Refused clients that go on sending, of one address and of many, keep no upload from being stored."""
    service = limited("--nofile=256")
    head = "POST /v1/images", "Content-Type: text/plain", "Content-Length: 9000000"
    with ExitStack() as stack:
        for number in range(240):
            address = "127.0.99.98" if number < 150 else f"127.0.99.{number - 149}"
            with suppress(OSError):
                connection = stack.enter_context(service.connect(address))
                connection.head(*head)
                connection.send(bytes(1000))
        for _ in range(3):
            assert service.upload(prefer="wait=20").status_code == 201
    assert "Too many open files" not in service.errors()
