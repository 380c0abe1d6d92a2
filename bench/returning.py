"""Clients that upload one photo each and come back when refused: urllib3 and curl with their own retries."""

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
    """One client with one photo. Times are those of the monotonic clock, in seconds."""

    address: str
    kind: str
    came: float = 0.0
    told: float | None = None
    """The moment that its first Retry-After named, if it was refused."""
    refusals: int = 0
    entered: float | None = None
    document: dict[str, Any] = field(default_factory=dict)


def addresses() -> Iterator[str]:
    """Loopback addresses, each a client of its own."""
    for number in range(1, 1 << 22):
        yield f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Returning(Retry):
    """urllib3's Retry, which records refusals in its client."""

    client: Client

    def sleep(self, response: Any = None) -> None:
        """Sleep as urllib3 does; an impatient client sleeps a second whatever Retry-After says."""
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
        """The object for the next attempt: urllib3 makes a new one each time."""
        retry = super().new(**changes)
        retry.client = self.client
        return retry


def bring(port: int, client: Client, photo: bytes) -> None:
    """Upload with urllib3 until the photo is accepted."""
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
    """Upload with `curl --retry` until the photo is accepted, and record its refusals."""
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
    """Wait until no upload is being received and no job waits or runs."""
    with urllib3.HTTPConnectionPool(rig.HOST, port) as pool:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            stats = pool.request("GET", "/v1/stats").json()
            busy = any(worker["state"] == "busy" for worker in stats["workers"])
            if not (stats["backlog"]["waiting"] or stats["backlog"]["receiving"] or busy):
                return
            time.sleep(0.1)


def job_s(connections: urllib3.HTTPConnectionPool) -> float:
    """Mean seconds that a worker has been busy with a job, over all jobs so far."""
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
    """A service without brownout: it makes all variants of a photo in one go."""
    with (
        tempfile.TemporaryDirectory() as store,
        rig.spillway(Path(store), brownout="off", **settings) as serving,
    ):
        yield serving
