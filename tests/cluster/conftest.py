"""A cluster on loopback: NATS, an S3 server, replicas and workers."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.servers import Hand, NatsServer
from tests.objects.servers import Moto
from tests.service import Service, serving

Serve = Callable[..., Service]
Work = Callable[..., Hand]


@pytest.fixture
def anyio_backend() -> str:
    """The client of NATS is made for asyncio."""
    return "asyncio"


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """The engine, where it is installed."""
    if shutil.which("nats-server") is None:
        pytest.skip("not installed: nats-server (Debian: nats-server)")
    server = NatsServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """The store's server, one for all tests."""
    server = Moto(tmp_path_factory.mktemp("moto"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def shared(nats: NatsServer, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The settings that make processes one cluster."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    return {"engine_url": nats.url, "store_url": f"s3://{moto.new_bucket()}/photos", "variants": "thumb=96"}


@pytest.fixture
def serve(shared: dict[str, object], tmp_path: Path) -> Iterator[Serve]:
    """Starts replicas without workers of their own, unless told otherwise."""
    with ExitStack() as stack:

        def start(**settings: object) -> Service:
            folder = tmp_path / f"replica{len(list(tmp_path.glob('replica*')))}"
            folder.mkdir()
            plenty = {"workers": 0, "rate": 1000, "burst": 1000}
            return stack.enter_context(serving(folder, **{**shared, **plenty, **settings}))

        yield start


@pytest.fixture
def work(shared: dict[str, object], tmp_path: Path) -> Iterator[Work]:
    """Starts workers."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Hand(tmp_path, **{**shared, **settings}))
