"""Clients that come back: each with one photo, by the libraries and commands that people use."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import urllib3
from urllib3.util import Retry

from bench import rig

_TYPE = {"Content-Type": "image/jpeg"}
_MOST_RETURNS = 60
PATIENCE_S = 240.0
PATIENT, IMPATIENT, CURL = "patient", "impatient", "curl"


@dataclass(eq=False)
class Client:
    """One photo and what became of it; times as the monotonic clock gives them."""

    address: str
    kind: str
    came: float = 0.0
    told: float | None = None
    """The moment that it was told first, if it was refused."""
    refusals: int = 0
    entered: float | None = None
    document: dict[str, Any] = field(default_factory=dict)


def addresses() -> Iterator[str]:
    """Loopback addresses, each a client of its own."""
    for number in range(1, 1 << 22):
        yield f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Returning(Retry):
    """urllib3's own Retry, which tells its client what the service said."""

    client: Client

    def sleep(self, response: Any = None) -> None:
        """Sleep as urllib3 does; the impatient sleep a second, whatever they are told."""
        client = self.client
        seconds = self.get_retry_after(response) if response is not None else None
        client.refusals += 1
        if client.told is None:
            client.told = time.monotonic() + (seconds or 0)
        if client.kind == IMPATIENT:
            time.sleep(1)
        else:
            super().sleep(response)

    def new(self, **changes: Any) -> "Returning":
        """The Retry of the next try, which urllib3 makes anew."""
        retry = super().new(**changes)
        retry.client = self.client
        return retry


def bring(port: int, client: Client, photo: bytes) -> None:
    """Upload until the photo is in."""
    retry = Returning(total=_MOST_RETURNS, status_forcelist=(429, 503), allowed_methods=None)
    retry.client = client
    client.came = time.monotonic()
    with urllib3.HTTPConnectionPool(
        rig.HOST, port, source_address=(client.address, 0), timeout=60, retries=retry
    ) as pool:
        answer = pool.request("POST", "/v1/images", body=photo, headers=_TYPE)
        if answer.status in (201, 202):
            client.entered = time.monotonic()
            client.document = answer.json()


def bring_by_curl(port: int, client: Client, photo: Path) -> None:
    """The same by `curl --retry`, which tells how often it was refused and what it was told."""
    command = ["curl", "-s", "--retry", str(_MOST_RETURNS), "--interface", client.address]
    command += ["-H", "Content-Type: image/jpeg", "-H", "Expect:", "--data-binary", f"@{photo}"]
    command += ["-D", "/dev/stderr"]
    client.came = time.monotonic()
    with subprocess.Popen(
        [*command, f"http://{rig.HOST}:{port}/v1/images"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        status = 0
        for line in process.stderr:
            if line.startswith("HTTP/"):
                status = int(line.split()[1])
                client.refusals += status in (429, 503)
                if status in (201, 202):
                    client.entered = time.monotonic()
            elif client.told is None and line.lower().startswith("retry-after:"):
                client.told = time.monotonic() + int(line.split()[1])


def drain(port: int) -> None:
    """Wait until nothing waits or is on its way."""
    with urllib3.HTTPConnectionPool(rig.HOST, port) as pool:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            stats = pool.request("GET", "/v1/stats").json()
            busy = any(worker["state"] == "busy" for worker in stats["workers"])
            if not (stats["backlog"]["waiting"] or stats["backlog"]["receiving"] or busy):
                return
            time.sleep(0.1)


def job_s(connections: urllib3.HTTPConnectionPool) -> float:
    """Seconds that a worker has been busy with a job, the mean of all so far."""
    workers = connections.request("GET", "/v1/stats").json()["workers"]
    return float(sum(each["busy_ms"] for each in workers) / sum(each["jobs"] for each in workers) / 1000)


def span(connections: urllib3.HTTPConnectionPool, client: Client) -> float:
    """Seconds from a photo's acceptance until it was done."""
    return finished(connections, client) - _moment(client.document["created_at"])


def finished(connections: urllib3.HTTPConnectionPool, client: Client) -> float:
    """When a photo was done, in seconds since the epoch."""
    link = client.document["links"]["self"]
    document = connections.request("GET", link, headers={"Prefer": "wait=30"}).json()
    return _moment(document["finished_at"])


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@contextmanager
def service(**settings: int) -> Iterator[rig.Serving]:
    """A service that makes every photo whole."""
    with (
        tempfile.TemporaryDirectory() as store,
        rig.spillway(Path(store), brownout="off", **settings) as serving,
    ):
        yield serving
