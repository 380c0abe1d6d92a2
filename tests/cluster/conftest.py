"""A cluster on loopback: NATS, an S3 server, replicas and workers."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.backpressure.circuit_breaker import CircuitBreaker
from app.backpressure.token_bucket import GCRA
from app.cluster.connection import NatsConnection
from app.cluster.engine import ClusterEngine
from app.cluster.factory import ProcessParts, engine_breaker, make_replica
from app.cluster.jetstream import Bounds, prepare
from app.engine.base import CircuitBreakers
from app.engine.worker_pool import WorkerPool
from app.factory import make_job_defaults
from app.runtime.metrics import Histograms
from app.settings import Settings, load_settings
from app.storage.local.store import LocalStore
from tests.cluster.servers import NatsServer, SpillwayWorker
from tests.service import Service, serving
from tests.storage.jobs import DAY
from tests.storage.servers import Moto

StartWorker = Callable[..., SpillwayWorker]
StartNats = Callable[..., NatsServer]
Connect = Callable[[], Awaitable[NatsConnection]]

QUEUE_SIZE, MAX_RECEIVING = 20, 5
"""Bounds of the streams that `connect` prepares."""

TIGHT = {"rate": 0.01, "burst": 3, "queue_size": 6, "max_receiving": 4, "client_share": 10}
"""Bounds that are low enough for a test to reach. Most tests upload from a new address each time."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two replicas without workers, and the NATS server and settings that they share."""

    nats: NatsServer
    here: Service
    there: Service
    settings: dict[str, object]

    def jobs(self, outcome: str) -> int:
        """Jobs that both replicas together count as accepted, done or failed."""
        return sum(int(service.stats()["jobs"][outcome]) for service in (self.here, self.there))


@pytest.fixture
def anyio_backend() -> str:
    """The NATS client works with asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def start_nats() -> Iterator[StartNats]:
    """Starts NATS servers, each with its streams in a given folder. Skips where none is installed."""
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
def nats(start_nats: StartNats, tmp_path: Path) -> NatsServer:
    """A new, empty server for one test."""
    return start_nats(tmp_path)


@pytest.fixture
def small_nats(start_nats: StartNats, tmp_path: Path) -> NatsServer:
    """A new server that may keep 128 KiB on disk and 64 KiB in memory."""
    config = tmp_path / "nats.conf"
    config.write_text("jetstream { max_file_store: 131072, max_memory_store: 65536 }")
    return start_nats(tmp_path, "-c", str(config))


@pytest.fixture
async def connect(nats: NatsServer) -> AsyncIterator[Connect]:
    """Opens connections, each as of a process of its own, to a server with all streams."""
    opened = []

    async def one() -> NatsConnection:
        connection = NatsConnection([nats.url], engine_breaker())
        await connection.open()
        opened.append(connection)
        await prepare(connection, Bounds(QUEUE_SIZE, MAX_RECEIVING, 60), may_change=True)
        return connection

    yield one
    for connection in opened:
        await connection.close()


@pytest.fixture
def settings(nats: NatsServer) -> Settings:
    """Those of one process of a cluster with one worker."""
    return load_settings(engine_url=nats.url, workers=1, variants="thumb=96")


@pytest.fixture
async def parts(settings: Settings, tmp_path: Path) -> AsyncIterator[ProcessParts]:
    """A store that is open, and a pool that is not started."""
    store = LocalStore(tmp_path / "data", 10**9, DAY)
    await store.open()
    await store.survey()
    breakers = CircuitBreakers(CircuitBreaker("workers"), CircuitBreaker("store"), engine_breaker())
    yield ProcessParts(
        make_job_defaults(settings), store, WorkerPool(1, breakers.workers), Histograms(), breakers
    )
    await store.close()


@pytest.fixture
async def engine(settings: Settings, parts: ProcessParts) -> AsyncIterator[ClusterEngine]:
    """A replica without workers, not started."""
    without_workers = settings.model_copy(update={"workers": 0})
    engine = make_replica(without_workers, GCRA.token_bucket(1, 10), parts)
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """An S3 server, one for all tests."""
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
def cluster(start_nats: StartNats, moto: Moto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for all tests of a module. Each test starts its own workers and leaves the queue empty."""
    nats_server = start_nats(tmp_path_factory.mktemp("nats"))
    settings = {
        "engine_url": nats_server.url,
        "store_url": f"s3://{moto.new_bucket()}/photos",
        "variants": "thumb=96",
        **TIGHT,
    }
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(serving(folder, **{**settings, "workers": 0})) for folder in folders
        )
        yield Cluster(nats_server, here, there, settings)


@pytest.fixture
def start_worker(cluster: Cluster, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts worker processes, with further settings if needed, which end with the test."""
    with ExitStack() as stack:

        def start(**settings: object) -> SpillwayWorker:
            return stack.enter_context(SpillwayWorker(tmp_path, **{**cluster.settings, **settings}))

        yield start
