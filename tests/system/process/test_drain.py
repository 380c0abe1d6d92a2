"""SIGTERM: running jobs are finished, new uploads are refused, nothing accepted is lost."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests import samples
from tests.conftest import Start
from tests.service import COMMAND, SMALL, children, environment, fresh_address, gone, until
from tests.system.http.expect import REDUCED_CAPACITY, problem
from tests.system.http.test_streams import open_stream

PHOTO = samples.jpeg(1200, 900)


def test_drains(start: Start) -> None:
    """The listener stays open, /readyz and uploads answer 503, GET works, running jobs end, status 0."""
    service = start(drain_timeout=15)
    with service.paused() as (running,):
        queued = service.upload()
        stream = service.connect()
        events = open_stream(stream, queued.json()["links"]["events"])
        assert next(events).name == "queued"
        waiting = service.connect()
        waiting.head(f"GET {queued.headers['location']}", "Prefer: wait=20")
        arriving = service.connect()
        arriving.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}")
        arriving.send(SMALL[:10])
        until(lambda: service.stats()["backlog"]["receiving"] == 1, "an upload to arrive")
        service.signal(signal.SIGTERM)
        with service.client() as client:
            until(lambda: client.get("/readyz").status_code == 503, "the drain to begin")
            problem(client.get("/readyz"), 503, REDUCED_CAPACITY)
            assert client.get("/healthz").status_code == 200
            refused = problem(service.upload(), 503, REDUCED_CAPACITY, guard="draining")
            assert 14_000 < refused["retry_after_ms"] <= 15_000
            assert client.get(queued.headers["location"]).json()["status"] == "queued"
            assert service.stats()["refusals"]["draining"] == 1
        # An upload that was on its way is not turned away.
        arriving.send(SMALL[10:])
        with arriving:
            taken = arriving.answer()
            assert taken.status == 202
        assert service.process.poll() is None
    with stream, waiting:
        list(events)
        assert waiting.answer().status == 200
    assert service.wait() == 0
    service.start()
    try:
        for location in (running.headers["location"], queued.headers["location"], taken.headers["location"]):
            assert service.ended(location.rpartition("/")[2])["status"] == "done"
    finally:
        assert service.stop() == 0


def test_refuses_incomplete_uploads_before_it_ends(start: Start) -> None:
    """503 before the time is over, for a first upload and a repeat; what is complete by then is accepted."""
    service = start(drain_timeout=3)
    key, address = '"k"', fresh_address()
    assert service.upload(address=address, **{"idempotency-key": key}, prefer="wait=20").status_code == 201
    with ExitStack() as stack:
        clients = [stack.enter_context(service.connect(address)) for _ in range(3)]
        for number, client in enumerate(clients):
            more = [f"Idempotency-Key: {key}"] if number == 2 else []
            client.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}", *more)
            client.send(SMALL[:100])
        until(lambda: service.stats()["backlog"]["receiving"] == 2, "the uploads to arrive")
        began = time.monotonic()
        service.signal(signal.SIGTERM)
        until(lambda: service.get("/readyz").status == 503, "the drain to begin")
        clients[0].send(SMALL[100:])
        assert clients[0].answer().status == 202
        for client in clients[1:]:
            problem(client.answer(), 503, REDUCED_CAPACITY, guard="draining")
        assert service.wait() == 0
        assert time.monotonic() - began < 6  # a slow machine needs a moment to end, but waits for nobody
    assert not [name for name in service.stored() if name.startswith(("spool/", "work/"))]


@pytest.mark.parametrize("signals", [1, 2])
def test_loses_nothing_under_load(start: Start, signals: int) -> None:
    """Eight clients upload without a pause: each upload is answered or cut off, and what got a 202 is done.

    A second signal ends the service at once, in the middle of uploads and jobs.
    """
    service = start(drain_timeout=5, rate=1000, burst=1000, client_share=50, queue_size=50)
    acknowledged: list[str] = []
    refused: list[int] = []
    broken: list[str] = []

    def send(_: int) -> None:
        with service.client() as client:
            while True:
                try:
                    answer = client.post("/v1/images", content=PHOTO, headers={"content-type": "image/jpeg"})
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    broken.append(type(error).__name__)
                    return
                if answer.status_code == 202:
                    acknowledged.append(answer.json()["id"])
                else:
                    refused.append(answer.status_code)

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(send, number) for number in range(8)]
        until(lambda: len(acknowledged) > 20, "some load")
        began = time.monotonic()
        service.signal(signal.SIGTERM)
        if signals == 2:
            until(lambda: service.get("/readyz").status == 503, "the drain to begin")
            service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert time.monotonic() - began < 9
        for sender in running:
            sender.result()
    assert set(refused) <= {503}
    service.start()
    try:
        for job_id in acknowledged:
            assert service.ended(job_id)["status"] == "done"
        assert not [name for name in service.stored() if name.startswith("spool/")]
    finally:
        assert service.stop() == 0


def test_ends_when_the_time_is_over(start: Start) -> None:
    """A job that does not end within DRAIN_TIMEOUT stays on disk for the next start."""
    service = start(drain_timeout=0.5)
    with service.paused() as (running,):
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
    job_id = running.json()["id"]
    assert f"images/{job_id[:2]}/{job_id}/source" in service.stored()


def test_a_second_signal_stops_at_once(start: Start) -> None:
    """Nothing is waited for, and nothing is lost: the next start does what was left."""
    service = start(drain_timeout=60)
    with service.paused() as (running,):
        queued = [service.upload() for _ in range(3)]
        service.signal(signal.SIGTERM)
        with service.client() as client:
            until(lambda: client.get("/readyz").status_code == 503, "the drain to begin")
        service.signal(signal.SIGTERM)
        assert service.wait(10) == 0
    service.start()
    for answer in (running, *queued):
        assert service.ended(answer.json()["id"])["status"] == "done"
    assert service.stop() == 0


def test_ends_at_once_when_idle(start: Start) -> None:
    """By SIGINT too; open connections, streams and slow readers do not delay it."""
    service = start(drain_timeout=60)
    service.upload(samples.jpeg(800, 600), prefer="wait=20")
    with service.connect() as idle, service.connect() as stream:
        idle.head("GET /healthz")
        assert idle.answer().status == 200
        events = open_stream(stream, "/v1/stats/stream")
        next(events)
        children = service.workers()
        service.signal(signal.SIGINT)
        assert service.wait(10) == 0
        list(events)
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110


def test_stops_while_it_starts(tmp_path: Path) -> None:
    """A signal before the service is ready ends it and its workers with status 0 and without a traceback."""
    command = [COMMAND, "serve"]
    settings = environment(port=0, workers=2)
    with subprocess.Popen(
        command, cwd=tmp_path, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            started = until(lambda: children(process.pid), "workers to be started")
            process.terminate()
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert b"Traceback" not in errors
    for pid in started:
        gone(pid)
