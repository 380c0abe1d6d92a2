"""A cluster on loopback: NATS, an S3 server, replicas and workers."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.servers import Hand, NatsServer
from tests.service import Service, serving
from tests.storage.servers import Moto

Work = Callable[[], Hand]
Engine = Callable[..., NatsServer]

TIGHT = {"rate": 0.01, "burst": 3, "queue_size": 6, "max_receiving": 4, "client_share": 10}
"""Bounds that a test reaches; most clients of the tests upload once, each from an address of its own."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two replicas that have no workers of their own, and what is behind them."""

    engine: NatsServer
    here: Service
    there: Service
    settings: dict[str, object]

    def jobs(self, outcome: str) -> int:
        """How many jobs the replicas count as accepted, done or failed."""
        return sum(int(service.stats()["jobs"][outcome]) for service in (self.here, self.there))


@pytest.fixture
def anyio_backend() -> str:
    """The client of NATS is made for asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def start_engine() -> Iterator[Engine]:
    """Starts engines, where one is installed; each keeps its streams in the folder that it is given."""
    if shutil.which("nats-server") is None:
        pytest.skip("not installed: nats-server (Debian: nats-server)")
    with ExitStack() as stack:

        def start(folder: Path, *options: str) -> NatsServer:
            server = NatsServer(folder, *options)
            server.start()
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def nats(start_engine: Engine, tmp_path: Path) -> NatsServer:
    """An engine of the test's own, empty."""
    return start_engine(tmp_path)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """The store's server, one for all tests."""
    server = Moto(tmp_path_factory.mktemp("moto"))
    try:
        server.start()
        with pytest.MonkeyPatch.context() as environment:
            for name, value in server.environment.items():
                environment.setenv(name, value)
            yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def cluster(start_engine: Engine, moto: Moto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests of a module: each leaves its queue empty, and starts workers of its own."""
    engine = start_engine(tmp_path_factory.mktemp("engine"))
    settings = {
        "engine_url": engine.url,
        "store_url": f"s3://{moto.new_bucket()}/photos",
        "variants": "thumb=96",
        **TIGHT,
    }
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(serving(folder, **{**settings, "workers": 0})) for folder in folders
        )
        yield Cluster(engine, here, there, settings)


@pytest.fixture
def work(cluster: Cluster, tmp_path: Path) -> Iterator[Work]:
    """Starts workers, ended with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Hand(tmp_path, **cluster.settings))
