"""Does a Retry-After keep its word over real sockets, does impatience pay, and who waits behind whom?

    python -m bench.promises [--rounds 1] [--seconds 10] [--load 5] [--json FILE]

Two acts, each with a `spillway serve` of its own and 2 MP photos, clients at loopback addresses of their own:

*crowd*    `load` times what the service was just seen to do, for so many seconds; then no more come, and the
           refused are waited for. They are urllib3 with its own `Retry` and, one in ten, `curl --retry`.
           Before a second crowd one in five is impatient: it asks again each second.
*shares*   one client brings twenty photos at once, then fifty clients bring one each.

Columns: `first` share of the refused patient that got in when they came back as told; `all in`; `error s`
mean seconds from the moment first told to the answer 202; `used` share of the workers' time used while
anybody who had been refused was not in yet; `gain s` seconds by which the impatient were in sooner than the
patient who came before and after them.
"""

import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import urllib3
from urllib3.util import Retry

from bench import photos, rig

_TYPE = {"Content-Type": "image/jpeg"}
_MOST_RETURNS = 60
_PATIENCE_S = 240.0
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
    command += [
        "-H",
        "Content-Type: image/jpeg",
        "-H",
        "Expect:",
        "--data-binary",
        f"@{photo}",
        "-D",
        "/dev/stderr",
    ]
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


class Watcher:
    """Reads the workers' busy time twice a second, and keeps what fell while somebody waited to come back."""

    def __init__(self, port: int, clients: list[Client]) -> None:
        self._pool = urllib3.HTTPConnectionPool(rig.HOST, port)
        self._clients = clients
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.busy_s = self.watched_s = 0.0
        self._thread.start()

    def _run(self) -> None:
        last: tuple[float, float] | None = None
        while not self._over.wait(0.5):
            busy = sum(worker["busy_ms"] for worker in self.stats()["workers"]) / 1000
            now = time.monotonic()
            someone = any(client.told is not None and client.entered is None for client in self._clients)
            if last is not None and someone:
                self.watched_s += now - last[0]
                self.busy_s += busy - last[1]
            last = (now, busy) if someone else None

    def stats(self) -> dict[str, Any]:
        """The service's snapshot."""
        return dict(self._pool.request("GET", "/v1/stats").json())

    def end(self) -> float:
        """Stop; the share of the time of one worker that was used."""
        self._over.set()
        self._thread.join()
        self._pool.close()
        return self.busy_s / self.watched_s if self.watched_s else 1.0


def capacity(port: int, photo: bytes, names: Iterator[str]) -> float:
    """Photos per second that a closed loop of clients gets done."""
    began = time.monotonic()
    clients = [Client(next(names), PATIENT) for _ in range(60)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda client: bring(port, client, photo), clients))
    drain(port)
    return len(clients) / (time.monotonic() - began)


def drain(port: int) -> None:
    """Wait until nothing waits or is on its way."""
    with urllib3.HTTPConnectionPool(rig.HOST, port) as pool:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            stats = pool.request("GET", "/v1/stats").json()
            busy = any(worker["state"] == "busy" for worker in stats["workers"])
            if not (stats["backlog"]["waiting"] or stats["backlog"]["receiving"] or busy):
                return
            time.sleep(0.1)


def crowd(serving: rig.Serving, path: Path, load: float, seconds: float, impatient: float) -> dict[str, Any]:
    """The figures of one crowd, each of it with the photo at `path`."""
    chance = random.Random(5)  # noqa: S311 - a crowd, not a secret
    names, photo, port = addresses(), path.read_bytes(), serving.port
    per_s = capacity(port, photo, names)
    clients: list[Client] = []
    watcher = Watcher(port, clients)
    threads = []
    began = moment = time.monotonic()
    while (moment := moment + chance.expovariate(load * per_s)) < began + seconds:
        time.sleep(max(0.0, moment - time.monotonic()))
        kind = IMPATIENT if chance.random() < impatient else CURL if chance.random() < 0.1 else PATIENT
        client = Client(next(names), kind)
        clients.append(client)
        call: Callable[..., None] = bring_by_curl if kind == CURL else bring
        body: Any = path if kind == CURL else photo
        threads.append(threading.Thread(target=call, args=(port, client, body), daemon=True))
        threads[-1].start()
    end = time.monotonic() + _PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    workers = len(watcher.stats()["workers"])
    used = watcher.end() / workers
    refused = [client for client in clients if client.told is not None and client.kind != IMPATIENT]
    errors = [client.entered - client.told for client in refused if client.entered and client.told]
    return {
        "capacity_per_s": per_s,
        "clients": len(clients),
        "refused": sum(client.told is not None for client in clients),
        "first": fmean(client.refusals == 1 and client.entered is not None for client in refused),
        "all_in": fmean(client.entered is not None for client in clients),
        "error_s": fmean(errors),
        "used": used,
        "gain_s": gain(clients),
    }


def gain(clients: list[Client]) -> float | None:
    """Mean seconds by which the refused impatient were in sooner than the patient before and after them."""
    late = [client for client in clients if client.told is not None and client.entered is not None]
    gains = []
    for at, client in enumerate(late):
        if client.kind != IMPATIENT:
            continue
        before = next((one for one in reversed(late[:at]) if one.kind != IMPATIENT), None)
        after = next((one for one in late[at:] if one.kind != IMPATIENT), None)
        beside = [_took(one) for one in (before, after) if one is not None]
        if beside:
            gains.append(fmean(beside) - _took(client))
    return fmean(gains) if gains else None


def _took(client: Client) -> float:
    return (client.entered or client.came) - client.came


def shares(serving: rig.Serving, photo: bytes) -> dict[str, Any]:
    """How long the jobs of one client with twenty and of fifty with one waited and took, in seconds."""
    names, port = addresses(), serving.port
    many = next(names)
    heavy = [Client(many, PATIENT) for _ in range(20)]
    light = [Client(next(names), PATIENT) for _ in range(50)]
    with ThreadPoolExecutor(20) as pool:
        for clients in (heavy, light):
            list(pool.map(lambda client: bring(port, client, photo), clients))
    drain(port)
    took: dict[str, list[float]] = {"heavy": [], "light": []}
    with urllib3.HTTPConnectionPool(rig.HOST, port) as connections:
        for name, clients in (("heavy", heavy), ("light", light)):
            for client in clients:
                link = client.document["links"]["self"]
                document = connections.request("GET", link, headers={"Prefer": "wait=30"}).json()
                span = _moment(document["finished_at"]) - _moment(document["created_at"])
                took[name].append(span)
    return {
        "one_with_20_mean_s": fmean(took["heavy"]),
        "one_with_20_last_s": max(took["heavy"]),
        "50_with_one_mean_s": fmean(took["light"]),
        "50_with_one_last_s": max(took["light"]),
    }


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Print the figures of both acts."""
    parser = rig.options(__doc__, rounds=1)
    parser.add_argument("--load", type=float, default=5.0, help="times the capacity (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for which they come (%(default)s)")
    options = parser.parse_args()
    report, fairness = rig.Report("bench.promises"), rig.Report("bench.promises")
    with tempfile.TemporaryDirectory() as folder:
        path = photos.photo_file(Path(folder), "jpeg", 2)
        for impatient in (0.0, 0.2):
            for _ in range(options.rounds):
                with service(queue_size=20) as serving:
                    name = f"{options.load:g} x, {impatient:.0%} impatient"
                    report.add(crowd=name, **crowd(serving, path, options.load, options.seconds, impatient))
        report.show(options.json)
        with service(queue_size=100, burst=20) as serving:
            fairness.add(shares="from accepted to done", **shares(serving, path.read_bytes()))
    fairness.show(None)


@contextmanager
def service(**settings: int) -> Iterator[rig.Serving]:
    """A service that makes every photo whole."""
    with (
        tempfile.TemporaryDirectory() as store,
        rig.spillway(Path(store), brownout="off", **settings) as serving,
    ):
        yield serving


if __name__ == "__main__":
    main()
