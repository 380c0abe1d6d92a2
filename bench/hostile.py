"""Attack a server of its own in the ways that a stranger could, while an honest client uploads photos.

The attacks run one after the other, each for some seconds and followed by a pause until the server has closed
all connections of it. Slow heads, bodies and readers come from slowhttptest (a Debian package), where it is
installed. Everything stays on the loopback interface.
"""

import argparse
import asyncio
import io
import multiprocessing
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
from PIL import Image

from app.runtime.memory import TRIM_PERIOD_S
from bench.hostile_bodies import BODIES, attack_with
from bench.rig import cpu_s
from tests import samples
from tests.service import Service
from tests.system.hostile.test_bombs import bombs

PROXY = "127.200.0.1"
IDLE = 10_000
NETWORKS = 100_000
SLOW = 2000
_PER_ADDRESS = 500
_PAUSE_S = 0.1
_QUIET_WITHIN_S = 40.0
PHOTO = samples.jpeg(1200, 900)
SETTINGS: dict[str, object] = {
    "rate": 100,
    "burst": 200,
    "trusted_proxies": PROXY,
    "variants": "large=2400:97,thumb=96",
    "job_timeout": 5,
    "log_format": "json",
}


@dataclass(slots=True)
class Served:
    """What the honest client saw: seconds of each upload until its answer, of each read of a variant, and of
    each look at /healthz."""

    uploads: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def _be_honest(url: str, begun: Event, over: Event, results: "Queue[Served]") -> None:
    """Upload a photo, wait for it and fetch it until `over`, in a process beside that of the attacks."""
    served = Served()
    transport = httpx.HTTPTransport(local_address="127.9.9.9")
    with httpx.Client(base_url=url, transport=transport, timeout=30) as client:
        while not over.is_set():
            try:
                _upload_and_read(client, served)
            except (httpx.HTTPError, KeyError) as error:
                served.failed.append(repr(error))
            if not begun.is_set():
                served = Served()  # the first round only shows that the client is ready
                begun.set()
            _look(client, over, served)
    results.put(served)


def _look(client: httpx.Client, over: Event, served: Served) -> None:
    """Ask for /healthz during the pause between two uploads."""
    for _ in range(5):
        began = time.monotonic()
        client.get("/healthz")
        served.health.append(time.monotonic() - began)
        over.wait(_PAUSE_S / 5)


def _upload_and_read(client: httpx.Client, served: Served) -> None:
    began = time.monotonic()
    fields = {"content-type": "image/jpeg", "prefer": "wait=20"}
    made = client.post("/v1/images?variants=thumb", content=PHOTO, headers=fields)
    if made.status_code != 201:
        served.failed.append(f"{made.status_code} {made.text}")
        return
    done = time.monotonic()
    served.uploads.append(done - began)
    answer = client.get(made.json()["variants"]["thumb"]["url"])
    if answer.status_code != 200:
        served.failed.append(f"{answer.status_code} {answer.text}")
    served.reads.append(time.monotonic() - done)


# --- the attacks: each returns a description of what it sent --------------------------------------------


def nothing(_: Service, seconds: float) -> str:
    """No attack, for comparison."""
    time.sleep(seconds)
    return "nothing"


async def _connected(service: Service, count: int) -> list[socket.socket]:
    """Open `count` connections, some hundreds from each address; those that are not accepted are left out."""
    loop = asyncio.get_running_loop()
    held: list[socket.socket] = []
    for number in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.bind((f"127.8.{number // _PER_ADDRESS}.1", 0))
        try:
            await asyncio.wait_for(loop.sock_connect(client, (service.host, service.port)), 5)
        except (OSError, TimeoutError):
            client.close()
        else:
            held.append(client)
    return held


def idle(service: Service, seconds: float) -> str:
    """Connections that send nothing; each one that the server closes is replaced."""

    async def hold() -> int:
        opened, end = 0, time.monotonic() + seconds
        while time.monotonic() < end or not opened:
            held = await _connected(service, IDLE)
            opened += len(held)
            await asyncio.sleep(max(0.0, min(9.0, end - time.monotonic())))
            for client in held:
                client.close()
        return opened

    return f"{asyncio.run(hold())} connections, {IDLE} at once"


def heads(service: Service, seconds: float) -> str:
    """Request heads that never end, as fast as the server reads them."""
    bomb = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 500_000
    sent = [0, 0]

    def throw(end: float) -> None:
        while time.monotonic() < end:
            with socket.socket() as client:
                client.settimeout(5)
                try:
                    client.connect((service.host, service.port))
                    sent[0] += 1
                    view = memoryview(bomb)
                    while view:
                        gone = client.send(view)
                        sent[1] += gone
                        view = view[gone:]
                except OSError:
                    continue

    _in_threads(8, throw, time.monotonic() + seconds)
    return f"{sent[0]} heads, {sent[1] >> 20} MiB"


def _in_threads(count: int, target: Callable[[float], None], end: float) -> None:
    threads = [threading.Thread(target=target, args=(end,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def networks(service: Service, _: float) -> str:
    """Uploads from ever new IPv6 networks, as a trusted proxy names them."""
    request = b"POST /v1/images HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n"
    with ExitStack() as stack:
        clients = [stack.enter_context(service.connect(PROXY)) for _ in range(50)]
        for first in range(0, NETWORKS, len(clients)):
            for number, client in enumerate(clients, first):
                network = divmod(number, 0x10000)
                client.send(request + b"X-Forwarded-For: 2001:db8:%x:%x::1\r\n\r\n" % network)
            for client in clients:
                client.answer()
    limiter = service.stats()["limiter"]
    return f"{NETWORKS} networks: {limiter['clients']} of {limiter['capacity']} places"


def unpacked(service: Service, seconds: float) -> str:
    """Decompression bombs of every format."""
    files, end, answers = bombs(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for data in files.values():
            service.upload(data, prefer="wait=20")
            answers += 1
    service.settled()
    return f"{answers} bombs of {len(files)} kinds"


def slowly(mode: str, path: str = "/v1/images", *more: str) -> Callable[[Service, float], str]:
    """An attack of slowhttptest in one of its modes."""

    def attack(service: Service, seconds: float) -> str:
        command = ["slowhttptest", mode, "-c", str(SLOW), "-r", "500", "-l", f"{seconds:.0f}", "-p", "5"]
        if path == "large":
            noise = io.BytesIO()
            picture = Image.frombytes("RGB", (2400, 1800), os.urandom(2400 * 1800 * 3))
            picture.save(noise, "JPEG", quality=95)
            made = service.upload(noise.getvalue(), prefer="wait=60").json()
            command += ["-u", service.url + made["variants"]["large"]["url"], *more]
        else:
            command += ["-u", service.url + path, *more]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
        shown = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", ran.stdout)
        available = re.findall(r"service available:\s*(\w+)", shown)
        return f"{SLOW} connections; available: {available.count('YES')} of {len(available)} looks"

    return attack


ATTACKS: dict[str, Callable[[Service, float], str]] = {
    "none": nothing,
    "idle connections": idle,
    "slow heads (-H)": slowly("-H", "/v1/images", "-i", "1", "-x", "24"),
    "slow bodies (-B)": slowly("-B", "/v1/images", "-i", "1", "-s", "500000", "-f", "image/jpeg"),
    "slow readers (-X)": slowly("-X", "large", "-w", "512", "-y", "1024", "-n", "1", "-z", "64", "-k", "1"),
    "endless heads": heads,
    "decompression bombs": unpacked,
    "IPv6 networks": networks,
    **{name: attack_with(name) for name in BODIES},
}


def _percentile(values: list[float], share: float) -> str:
    return f"{sorted(values)[int(len(values) * share)] * 1000:.0f}" if values else "-"


def _run(service: Service, name: str, seconds: float) -> bool:
    """Run one attack and print its row. Returns whether the honest client was served throughout."""
    before, sockets = service.memory(), service.sockets()
    family = multiprocessing.get_context("spawn")
    begun, over, results = family.Event(), family.Event(), family.Queue()
    client = family.Process(target=_be_honest, args=(service.url, begun, over, results), daemon=True)
    client.start()
    assert begun.wait(60)
    busy, since = cpu_s(service.pid), time.monotonic()  # of the server without its workers
    sent = ATTACKS[name](service, seconds)
    busy = (cpu_s(service.pid) - busy) / (time.monotonic() - since)
    during = service.memory()
    over.set()
    honest = results.get(timeout=60)
    client.join()
    end = time.monotonic() + _QUIET_WITHIN_S
    while time.monotonic() < end and service.sockets() > sockets + 2:
        time.sleep(0.2)
    service.settled()
    time.sleep(TRIM_PERIOD_S + 1)  # by then unused memory has been returned to the system
    cells = [
        name.ljust(20),
        sent.ljust(52),
        str(len(honest.uploads)).rjust(5),
        str(len(honest.failed)).rjust(6),
        *(_percentile(honest.uploads, share).rjust(6) for share in (0.5, 0.99)),
        _percentile(honest.reads, 0.99).rjust(6),
        _percentile(honest.health, 0.99).rjust(6),
        f"{busy:.2f}".rjust(5),
        *(f"{each >> 20}".rjust(5) for each in (before, during, service.memory())),
    ]
    print(" | ".join(cells), flush=True)
    for line in sorted(set(honest.failed))[:5]:
        print(f"    {line[:200]}", flush=True)
    return not honest.failed


def main() -> int:
    """Run every attack, or those that are named. Returns 1 if the honest client was ever refused."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seconds", nargs="?", type=float, default=15, help="of each attack (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), default=list(ATTACKS))
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names = [name for name in given.only if "(" not in name or shutil.which("slowhttptest")]
    columns = "attack | sent | honest uploads | failed | p50, p99 ms | read p99 | healthz p99 | CPUs"
    print(f"{columns} | MiB before, during, after")
    well = True
    with tempfile.TemporaryDirectory(prefix="spillway-hostile-") as folder:
        service = Service(Path(folder), **SETTINGS)
        try:
            for name in names:
                well &= _run(service, name, given.seconds)
        finally:
            service.kill()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
