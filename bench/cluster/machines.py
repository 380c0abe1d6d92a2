"""A cluster on loopback whose processes can be killed and started again."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.cluster.servers import NatsServer, SpillwayWorker
from tests.cluster.streams import ask
from tests.service import Service, children, free_port, until
from tests.storage.servers import Ceph, Moto, S3Server, missing_for_ceph

T = TypeVar("T")

STALL_S = 1.0
"""Seconds for which NATS is stopped, longer than any request may take while an upload waits."""
_STARTS = 20
"""Attempts to start a process while NATS is away. An orchestrator would never stop trying."""


class Machines:
    """NATS, an S3 server, replicas and workers, as a context manager."""

    def __init__(self, folder: Path, nodes: int, **settings: object) -> None:
        """All files are kept below `folder`.

        `nodes` is the number of NATS servers, one or three; `settings` (lower-case names) are those of every
        replica and worker.
        """
        self.nats_servers = _nats(folder, nodes)
        self.store: S3Server = Moto(_new(folder / "s3")) if missing_for_ceph() else Ceph(_new(folder / "s3"))
        self.replicas: list[Service] = []
        self.workers: list[SpillwayWorker] = []
        self._folder = folder
        self._settings = settings
        self._pauses: list[threading.Thread] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.nats_servers:
                stack.callback(server.stop)
                server.start(wait=False)
            for server in self.nats_servers:
                until(lambda server=server: _answers(server.url), "a NATS server")
            stack.callback(self.store.stop)
            self.store.start()
            os.environ.update(self.store.environment)
            self.bucket = self.store.new_bucket()
            self._shared: dict[str, Any] = {
                "engine_url": ",".join(server.url for server in self.nats_servers),
                "store_url": f"s3://{self.bucket}/photos",
                **self._settings,
            }
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        self.resumed()
        for process in (*self.workers, *self.replicas):
            process.kill()

    def serve(self, **settings: object) -> Service:
        """Start a replica, without workers unless `settings` say so."""
        folder = _new(self._folder / f"replica{len(self.replicas)}")
        given = {"workers": 0, "port": free_port(), **self._shared, **settings}
        self.replicas.append(Service(folder, **given))
        return self.replicas[-1]

    def work(self, **settings: object) -> SpillwayWorker:
        """Start a worker process."""
        self.workers.append(SpillwayWorker(self._folder, **{**self._shared, **settings}))
        return self.workers[-1]

    def names(self, folder: str) -> list[str]:
        """The names of all objects in a folder of the bucket."""
        pages = (
            self.store.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=folder)
        )
        return [item["Key"].removeprefix(folder) for page in pages for item in page.get("Contents", ())]

    def read(self, name: str) -> bytes:
        """The content of an object in the bucket."""
        body: bytes = self.store.client().get_object(Bucket=self.bucket, Key=name)["Body"].read()
        return body

    # --- faults ----------------------------------------------------------------------------------------

    def kill_nats(self, number: int, pause_s: float) -> None:
        """Kill a NATS server and start it again after `pause_s` seconds."""
        self.nats_servers[number].kill()
        time.sleep(pause_s)
        self.nats_servers[number].start()

    def kill_replica(self, number: int, pause_s: float) -> None:
        """Kill a replica and start it again at the same address after `pause_s` seconds."""
        self.replicas[number].kill()
        time.sleep(pause_s)
        _start_retrying(self.replicas[number].start)

    def kill_worker(self, number: int, pause_s: float) -> None:
        """Kill a worker process and start another after `pause_s` seconds."""
        self.workers[number].kill()
        time.sleep(pause_s)
        self.workers[number] = _start_retrying(lambda: SpillwayWorker(self._folder, **self._shared))

    def pause_worker(self, number: int, seconds: float) -> None:
        """Stop a worker process and its children, as a container that is paused; return at once.

        They continue after `seconds`, unless they were killed meanwhile.
        """
        pid = self.workers[number].process.pid
        pids = _family(pid)
        _signal(pids, signal.SIGSTOP)

        def resume() -> None:
            time.sleep(seconds)
            _signal(pids, signal.SIGCONT)

        thread = threading.Thread(target=resume, name=f"pause of worker {number}")
        thread.start()
        self._pauses.append(thread)

    def resumed(self) -> None:
        """Wait until all paused workers continue."""
        for thread in self._pauses:
            thread.join()

    def stall_nats(self, pauses_s: Sequence[float]) -> None:
        """Stop all NATS servers for `STALL_S`, once after each of these pauses."""
        for pause_s in pauses_s:
            time.sleep(pause_s)
            for server in self.nats_servers:
                server.suspend()
            time.sleep(STALL_S)
            for server in self.nats_servers:
                server.resume()


def _family(pid: int) -> list[int]:
    """A process and all of its descendants."""
    return [pid, *(each for child in children(pid) for each in _family(child))]


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _nats(folder: Path, nodes: int) -> list[NatsServer]:
    if nodes == 1:
        return [NatsServer(_new(folder / "nats0"))]
    ports = [free_port() for _ in range(nodes)]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    return [
        NatsServer(
            _new(folder / f"nats{number}"),
            *("-n", f"nats{number}", "--cluster_name", "bench", "--routes", routes),
            *("--cluster", f"nats://127.0.0.1:{port}"),
        )
        for number, port in enumerate(ports)
    ]


def _answers(url: str) -> bool:
    try:
        return bool(ask(url, lambda js: js.account_info()))
    except Exception:  # it is not running, or the servers have not formed a cluster yet
        return False


def _start_retrying(start: Callable[[], T]) -> T:
    for _ in range(_STARTS):
        try:
            return start()
        except AssertionError:  # NATS is away
            time.sleep(0.5)
    return start()
