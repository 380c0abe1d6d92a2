"""The application under other servers and test clients, which do not have Spillway's own connections."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog.testing

from app.main import create_app
from app.settings import load_settings
from tests import samples
from tests.service import PATIENCE, Executed, Service, environment, free_port, fresh_address, serving, until

PLAIN_UVICORN = """
import os, socket, uvicorn
listener = socket.create_server(("127.0.0.1", 0))
print(f"listening at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
os.dup2(2, 1)  # for nobody reads on there
uvicorn.Server(uvicorn.Config("app.main:app", log_level="warning")).run(sockets=[listener])
"""
WARNING = "not under `spillway serve`"
ROOT = Path(__file__).parents[3]
LARGE = samples.jpeg(2400, 1600)
"""A photo of several pieces: a server passes on some 64 KiB at a time."""


class OnUvicorn(Executed):
    """The service as `uvicorn app.main:app` runs it."""

    command = (sys.executable, "-c", PLAIN_UVICORN)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One of them, which ends as uvicorn ends: by the signal, when all has been stopped."""
    service = OnUvicorn(tmp_path_factory.mktemp("uvicorn"), burst=5, rate=0.01)
    try:
        yield service
        assert service.stop() == -signal.SIGTERM
    finally:
        service.kill()


@pytest.mark.parametrize(
    "command",
    [
        ("fastapi", "run", str(ROOT / "app" / "main.py"), "--host", "127.0.0.1"),
        ("uvicorn", "--factory", "app.main:create_app"),
    ],
    ids=["fastapi run", "uvicorn --factory"],
)
def test_started_by_a_command_of_others(command: tuple[str, ...], tmp_path: Path) -> None:
    """`fastapi run` finds the application by its file, uvicorn makes it by its function: a photo is done."""
    port = free_port()
    program = str(Path(sys.executable).with_name(command[0]))
    process = subprocess.Popen(
        [program, *command[1:], "--port", str(port)],
        cwd=tmp_path,
        env=environment(workers=1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=False) as client:  # noqa: S501

            def ready() -> bool:
                assert process.poll() is None, "it ended by itself"
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            until(ready, "the service to be ready")
            form = {"file": ("photo.jpg", LARGE, "image/jpeg")}
            answer = client.post("/v1/images", files=form, headers={"Prefer": "wait=20"})
            assert answer.status_code == 201, answer.text
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


class TestOnUvicorn:
    """Over sockets of uvicorn itself."""

    def test_an_upload_a_wait_and_a_stream(self, plain: Service) -> None:
        """An upload is accepted and waited for, by it and afterwards, and its events are streamed."""
        with plain.client() as client:
            form = {"file": ("photo.jpg", LARGE, "image/jpeg")}
            answer = client.post("/v1/images", files=form, headers={"Prefer": "wait=20"})
            assert answer.status_code == 201, answer.text
            assert set(answer.json()["variants"]) == {"large", "medium", "small", "thumb"}
            answer = client.post("/v1/images", content=LARGE, headers={"Content-Type": "image/jpeg"})
            assert answer.status_code == 202
            links = answer.json()["links"]
            with client.stream("GET", links["events"]) as events:
                assert "event: done" in list(events.iter_lines())
            answer = client.get(links["self"], headers={"Prefer": "wait=20"})
            assert answer.json()["status"] == "done"
            assert client.get(answer.json()["variants"]["thumb"]["url"]).content.startswith(b"\xff\xd8")

    def test_a_refusal(self, plain: Service) -> None:
        """An empty bucket is refused by the endpoint, with every field that early rejection has."""
        address = fresh_address()
        for _ in range(5):
            assert plain.upload(address=address).status_code == 202
        answer = plain.upload(address=address)
        assert answer.status_code == 429
        assert answer.headers["retry-after"]
        assert answer.headers["ratelimit"].startswith('"ip";r=0;')
        assert answer.json()["guard"] == "rate"

    def test_who_leaves_leaves_nothing_behind(self, plain: Service) -> None:
        """Neither in the middle of a body nor of a stream."""
        with plain.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(LARGE)}")
            connection.send(LARGE[: len(LARGE) // 2])
            until(lambda: plain.stats()["backlog"]["receiving"] == 1, "the upload to be received")
        with plain.connect() as connection:
            connection.head("GET /v1/stats/stream")
            assert any(line.startswith("event: stats") for line in connection.lines())
        plain.settled()
        assert not [name for name in plain.stored() if name.startswith("spool/")]

    def test_the_log_says_once_what_is_off(self, plain: Service) -> None:
        """However many requests would have liked to have it."""
        for _ in range(2):
            plain.upload()
        assert plain.errors().count(WARNING) == 1


def test_an_admin_port_that_nobody_opens_is_told(tmp_path: Path) -> None:
    """The log says so, for metrics and statistics are nowhere then."""
    with structlog.testing.capture_logs() as lines:
        create_app(load_settings(admin_port=9000, store_url=f"file:{tmp_path}"))
    assert [line["event"] for line in lines if "ADMIN_PORT is not open" in line["event"]]


def test_spillway_s_own_server_misses_nothing(tmp_path: Path) -> None:
    """There the line is not in the log."""
    with serving(tmp_path) as service:
        assert service.upload(prefer="wait=20").status_code == 201
        assert WARNING not in service.errors()


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_in_a_test_client() -> None:
    """What people write first: an upload, and what became of it."""
    from fastapi.testclient import TestClient

    with TestClient(create_app(load_settings(workers=1))) as client:
        form = {"file": ("photo.jpg", LARGE, "image/jpeg")}
        answer = client.post("/v1/images", files=form, headers={"Prefer": "wait=20"})
        assert answer.status_code == 201, answer.text
        document = client.get(answer.headers["location"]).json()
        assert document["status"] == "done"
        assert "event: done" in client.get(document["links"]["events"]).text
        answer = client.post("/v1/images", content=b"text", headers={"Content-Type": "text/plain"})
        assert answer.status_code == 415


@pytest.mark.usefixtures("bare_environment")
def test_through_httpx() -> None:
    """httpx calls the application itself, in the loop of the caller."""

    async def upload() -> tuple[httpx.Response, httpx.Response]:
        app = create_app(load_settings(workers=1))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://spillway.test") as client,
        ):
            headers = {"Content-Type": "image/jpeg", "Prefer": "wait=20"}
            made = await client.post("/v1/images", content=LARGE, headers=headers)
            return made, await client.get(made.json()["links"]["events"])

    made, events = asyncio.run(upload())
    assert made.status_code == 201, made.text
    assert "event: done" in events.text
