"""S3 servers, stores of every kind, and what the tests need to look at their files from outside."""

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
from tests.storage.outside import BucketFiles, DirectoryFiles, StoreFiles
from tests.storage.servers import Ceph, Moto, S3Server, missing_for_ceph

Open = Callable[..., Any]
PREFIX = "pre/fix"


@pytest.fixture
def anyio_backend() -> str:
    """A store works in threads and over connections, so its loop has to run in real time."""
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
    """An empty bucket on the server, to which the environment points."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return server.new_bucket()


@pytest.fixture
def clock() -> HandClock:
    """What the store takes for the time since the epoch."""
    return HandClock(time.time())


@asynccontextmanager
async def opening(make: Callable[..., Any]) -> AsyncIterator[Open]:
    """A function that opens the store which `make` makes of its arguments; all are closed at the end."""
    async with AsyncExitStack() as stack:

        async def open_one(*arguments: Any, **named: Any) -> Any:
            store = make(*arguments, **named)
            stack.push_async_callback(store.close)
            await store.open()
            await store.survey()
            return store

        yield open_one


# --- one kind of store ----------------------------------------------------------------------------------


@pytest.fixture
async def open_local(tmp_path: Path, clock: HandClock) -> AsyncIterator[Open]:
    """A function that opens a store in a directory, by default always in the same one."""

    def make(max_bytes: int = 10**9, root: Path = tmp_path / "data", retention: float = DAY) -> LocalStore:
        return LocalStore(root, max_bytes, retention, clock)

    async with opening(make) as open_one:
        yield open_one


@pytest.fixture
async def open_s3(bucket: str, clock: HandClock) -> AsyncIterator[Open]:
    """A function that opens a store in the bucket; it may have several replicas open at once."""

    def make(max_bytes: int = 10**9, prefix: str = PREFIX, retention: float = DAY) -> S3Store:
        return S3Store(bucket, prefix, max_bytes, retention, clock)

    async with opening(make) as open_one:
        yield open_one


# --- every kind of store --------------------------------------------------------------------------------


@pytest.fixture(params=["local", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    """A test that uses it, directly or through `store`, runs once for each kind of store."""
    return str(request.param)


@pytest.fixture
def open_store(kind: str, request: pytest.FixtureRequest) -> Open:
    """A function that opens a store of the kind, always at the same place."""
    opener: Open = request.getfixturevalue(f"open_{kind}")
    return opener


@pytest.fixture
async def store(open_store: Open) -> Any:
    """An open store of the kind, empty."""
    return await open_store()


@pytest.fixture
def files(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> StoreFiles:
    """The files of the store of the kind, seen from outside."""
    if kind == "local":
        return DirectoryFiles(tmp_path / "data")
    return BucketFiles(request.getfixturevalue("server"), request.getfixturevalue("bucket"), PREFIX)
