"""SIGTERM: what runs is finished, nothing new is taken, nothing accepted is lost."""

import os
import signal
import subprocess
from pathlib import Path

from tests import samples
from tests.conftest import Start
from tests.http.expect import REDUCED_CAPACITY, problem
from tests.http.test_streams import open_stream
from tests.service import COMMAND, SMALL, children, environment, gone, until


def test_drains(start: Start) -> None:
    """The listener stays open, /readyz and uploads answer 503, reading works, running jobs end, exit 0."""
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


def test_leaves_when_time_is_over(start: Start) -> None:
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


def test_goes_at_once_when_idle(start: Start) -> None:
    """SIGINT is as good, and open connections, streams and a slow reader do not hold it."""
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
    """A signal before it is ready ends it as well: status 0, without a traceback, and its workers with it."""
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
