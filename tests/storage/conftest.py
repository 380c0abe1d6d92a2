"""S3 servers, and stores of either kind."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from app.storage.local.store import LocalStore
from app.storage.s3.store import S3Store
from tests.clocks import HandClock
from tests.storage.jobs import DAY
from tests.storage.servers import Ceph, Moto, S3Server, missing_for_ceph

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


@pytest.fixture
def server(request: pytest.FixtureRequest) -> S3Server:
    """The S3 server that a test names, else the real one where it is installed."""
    name = getattr(request, "param", "moto" if missing_for_ceph() else "ceph")
    chosen: S3Server = request.getfixturevalue(name)
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

    def make(max_bytes: int = 10**9, prefix: str = "pre/fix") -> S3Store:
        return S3Store(bucket, prefix, max_bytes, DAY, clock)

    async with _opening(make) as open_one:
        yield open_one


@asynccontextmanager
async def _opening(make: Callable[..., Any]) -> AsyncIterator[Open]:
    """A function that opens what `make` makes of its arguments; all of it is closed at the end."""
    async with AsyncExitStack() as stack:

        async def open_one(*arguments: Any, **named: Any) -> Any:
            store = make(*arguments, **named)
            await store.open()
            stack.push_async_callback(store.close)
            return store

        yield open_one


@pytest.fixture
async def objects(open_objects: Open) -> S3Store:
    """An open store in the bucket, empty."""
    store: S3Store = await open_objects()
    return store


@pytest.fixture(params=["directory", "bucket"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> AsyncIterator[Open]:
    """A function that opens a store of one kind after the other, always on the same place."""
    name = request.getfixturevalue("bucket") if request.param == "bucket" else None

    def make(max_bytes: int = 10**9) -> Any:
        if name is None:
            return LocalStore(tmp_path / "data", max_bytes, DAY, clock)
        return S3Store(name, "pre/fix", max_bytes, DAY, clock)

    async with _opening(make) as open_one:
        yield open_one


@pytest.fixture
async def store(open_store: Open) -> Any:
    """An open store of one kind after the other, empty."""
    return await open_store()
