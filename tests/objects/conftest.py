"""S3 servers, and stores of either kind."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from app.directory import DirectoryStore
from app.objects import ObjectStore
from tests.objects.jobs import DAY
from tests.objects.servers import Ceph, Moto, S3Server, missing_for_ceph
from tests.parts.clocks import HandClock

Open = Callable[..., Any]


@pytest.fixture
def anyio_backend() -> str:
    """A store works in threads and over connections, so its loop has to wait for them."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_blocking_call() -> Iterator[None]:
    """Fail where a store blocks the event loop."""
    with blockbuster_ctx("app"):
        yield


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The quick server."""
    yield from _running(Moto(tmp_path_factory.mktemp("moto")))


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The real server, where it is installed."""
    if missing := missing_for_ceph():
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: ceph-mon ceph-osd radosgw)")
    yield from _running(Ceph(tmp_path_factory.mktemp("ceph")))


def _running(server: S3Server) -> Iterator[S3Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["moto", "ceph"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """One S3 server after the other."""
    chosen: S3Server = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty bucket on the server, which the environment names."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return server.new_bucket()


@pytest.fixture
def clock() -> HandClock:
    """The store's idea of the time since the epoch."""
    return HandClock(time.time())


@pytest.fixture
async def open_objects(bucket: str, clock: HandClock) -> AsyncIterator[Open]:
    """A function that opens a store in the bucket; as many replicas as one likes, each closed at the end."""
    opened = []

    async def open_one(max_bytes: int = 10**9, prefix: str = "pre/fix") -> ObjectStore:
        store = ObjectStore(bucket, prefix, max_bytes, DAY, clock)
        await store.open()
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def objects(open_objects: Open) -> ObjectStore:
    """An open store in the bucket, empty."""
    store: ObjectStore = await open_objects()
    return store


@pytest.fixture(params=["directory", "moto", "ceph"])
async def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Open]:
    """A function that opens a store of one kind after the other, always on the same place."""
    opened = []
    if request.param != "directory":
        chosen: S3Server = request.getfixturevalue(request.param)
        name = chosen.new_bucket()
        for variable, value in chosen.environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def open_one(max_bytes: int = 10**9) -> Any:
        if request.param == "directory":
            store: Any = DirectoryStore(tmp_path / "data", max_bytes, DAY, clock)
        else:
            store = ObjectStore(name, "pre/fix", max_bytes, DAY, clock)
        await store.open()
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: Open) -> Any:
    """An open store of one kind after the other, empty."""
    return await open_store()
