"""A service that is still starting answers, serves what it has, refuses uploads, and can be stopped."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service import (
    COMMAND,
    PATIENCE,
    Service,
    environment,
    free_port,
    fresh_address,
    gone,
    is_running,
    until,
)


class SlowService(Service):
    """A service whose worker is stopped (SIGSTOP) before it is ready, so that the start does not end."""

    def _first_line(self) -> str:
        self.worker = until(lambda: next(iter(self.workers()), None), "a worker", show=self.errors)
        os.kill(self.worker, signal.SIGSTOP)
        port = self._settings["port"]
        assert isinstance(port, int)

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(listens, "the listener", show=self.errors)
        return f"http://127.0.0.1:{port}"

    def go_on(self) -> None:
        """Let the start end; returns when the service says that it is ready."""
        os.kill(self.worker, signal.SIGCONT)
        assert "ready" in super()._first_line()


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[[], SlowService]]:
    """A function that begins a start in the folder of the test."""
    services = []

    def begin() -> SlowService:
        services.append(SlowService(tmp_path, port=free_port()))
        return services[-1]

    yield begin
    for service in services:
        if service.process.poll() is None:
            service.kill()


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, str, dict[str, str]]:
    """The ids of an image and of a job that an earlier run left waiting, and the delete tokens of both."""
    service = Service(tmp_path)
    first = service.upload().json()
    service.ended(first["id"])
    with service.paused() as held:
        waiting = service.upload().json()
        service.kill()
    assert len(held) == 1
    return first["id"], waiting["id"], {each["id"]: each["delete_token"] for each in (first, waiting)}


def test_it_answers_and_serves_and_refuses_uploads(
    images: tuple[str, str, dict[str, str]], begun: Callable[[], SlowService]
) -> None:
    """Alive, not ready, images are there; an upload is told when to come again, and is taken afterwards."""
    image, waiting, _ = images
    service = begun()
    assert service.get("/healthz").status == 200
    ready = service.get("/readyz")
    assert (ready.status, ready.json()["reasons"]) == (503, ["starting"])
    assert service.get(f"/v1/images/{image}/thumb").status == 200
    assert service.status_of(waiting) == "queued"
    assert service.stats()["jobs"]["accepted"] == 0

    address = fresh_address()
    for headers in ({}, {"prefer": "handling=lenient"}, {"idempotency-key": "a"}):
        refusal = service.upload(address=address, **headers)
        assert refusal.status_code == 503
        assert refusal.json()["guard"] == "starting"
        assert 1 <= int(refusal.headers["retry-after"]) <= 60
        assert "ratelimit" in refusal.headers
    assert service.stats()["refusals"]["starting"] == 3

    service.go_on()
    assert service.get("/readyz").status == 200
    service.taken()
    assert service.ended(waiting)["status"] == "done"
    assert service.stop() == 0


def test_who_follows_a_job_hears_of_its_end(
    images: tuple[str, str, dict[str, str]], begun: Callable[[], SlowService]
) -> None:
    """An event stream and a long poll that begin before the job is queued again last until it is done."""
    _, waiting, _ = images
    service = begun()
    with service.connect() as stream, service.connect() as poll:
        stream.head(f"GET /v1/images/{waiting}/events")
        poll.head(f"GET /v1/images/{waiting}", "Prefer: wait=25")
        lines = stream.lines()
        assert next(line for line in lines if line.startswith("event:")) == "event: queued"
        service.go_on()
        assert any(line.startswith("event: done") for line in lines)
        assert poll.answer().json()["status"] == "done"
    assert service.stop() == 0


def test_a_waiting_job_can_be_deleted(
    images: tuple[str, str, dict[str, str]], begun: Callable[[], SlowService]
) -> None:
    """At once, and it is not taken up afterwards."""
    _, waiting, tokens = images
    service = begun()
    with service.client() as client:
        fields = {"authorization": f"Bearer {tokens[waiting]}"}
        assert client.get(f"/v1/images/{waiting}").json()["status"] == "queued"
        assert client.delete(f"/v1/images/{waiting}", headers=fields).status_code == 204
    service.go_on()
    assert service.get(f"/v1/images/{waiting}").status == 404
    service.settled()
    assert service.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(
    images: tuple[str, str, dict[str, str]], begun: Callable[[], SlowService], number: signal.Signals
) -> None:
    """With status 0, no child left, and what was accepted is still there for the next start."""
    service = begun()
    service.signal(number)
    assert service.wait() == 0
    gone(service.worker)
    assert any(name.endswith(f"{images[1]}/source") for name in service.stored())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_while_a_store_does_not_answer(tmp_path: Path, number: signal.Signals) -> None:
    """Nothing is served yet: the start waits for a bucket of which nothing is heard."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "c"}
        address = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        process = subprocess.Popen(
            [COMMAND, "serve"],
            cwd=tmp_path,
            env=environment(store_url="s3://bucket/prefix", port=0, workers=1) | keys | address,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        connection, _ = silent.accept()
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
        connection.close()
    assert process.returncode == 0, output
    assert b"Traceback" not in output
    assert not is_running(process.pid)
