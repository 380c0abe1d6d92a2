"""Attacks by many connections, by endless ones, and by what comes before a request is complete."""

import re
import selectors
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from bench.hostile.uploads import noise
from tests.service import Service

IDLE = 10_000
SLOW = 2000
LINGERING = 3000
UNFINISHED = 1500
_PER_ADDRESS = 500
_CONNECT_TIMEOUT_S = 2.0


def connect(
    service: Service, count: int, address: Callable[[int], str], end: float, first: bytes = b""
) -> list[socket.socket]:
    """Open so many connections until the moment `end`, and send something first.

    `address` is where the n-th one comes from. Those that are not accepted are left out.
    """
    held: list[socket.socket] = []
    for number in range(count):
        if time.monotonic() > end:
            break
        source = (address(number), 0)
        with suppress(OSError):
            client = socket.create_connection((service.host, service.port), _CONNECT_TIMEOUT_S, source)
            held.append(client)
            client.sendall(first)
    return held


def idle(service: Service, seconds: float) -> str:
    """Connections that send nothing; each one that the server closes is replaced."""
    opened, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        held = connect(service, IDLE, lambda number: f"127.8.{number // _PER_ADDRESS}.1", end)
        opened += len(held)
        time.sleep(max(0.0, min(9.0, end - time.monotonic())))
        for client in held:
            client.close()
    return f"{opened} connections, {IDLE} at once"


def lingering(service: Service, seconds: float) -> str:
    """Uploads of one address that are refused by their heads, and whose connections are kept open."""
    head = (
        b"POST /v1/images HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 9000000\r\n\r\n"
    )
    began = time.monotonic()
    held = connect(service, LINGERING, lambda _: "127.61.0.1", began + seconds, head + bytes(10_000))
    took = time.monotonic() - began
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    for client in held:
        client.close()
    return f"{len(held)} connections of one address within {took:.1f} s"


def unfinished(service: Service, seconds: float) -> str:
    """Heads of 30 KB without an end."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"a" * 2995 + b"\r\n") * 10
    end = time.monotonic() + seconds
    held = connect(service, UNFINISHED, lambda number: f"127.62.0.{1 + number % 15}", end, head)
    time.sleep(max(0.0, end - time.monotonic()))
    for client in held:
        client.close()
    return f"{len(held)} heads of {len(head)} bytes, 15 addresses"


def endless(service: Service, seconds: float) -> str:
    """Request heads that never end, as fast as the server reads them."""
    bomb = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 500_000
    sent = [0, 0]

    def throw(end: float) -> None:
        while time.monotonic() < end:
            with socket.socket() as client, suppress(OSError):
                client.settimeout(5)
                client.connect((service.host, service.port))
                sent[0] += 1
                view = memoryview(bomb)
                while view:
                    gone = client.send(view)
                    sent[1] += gone
                    view = view[gone:]

    in_threads(8, throw, time.monotonic() + seconds)
    return f"{sent[0]} heads, {sent[1] >> 20} MiB"


def in_threads(count: int, target: Callable[[float], None], end: float) -> None:
    """Run `target` in so many threads at once, and wait for all of them."""
    threads = [threading.Thread(target=target, args=(end,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def pipelines(count: int) -> Callable[[Service, float], str]:
    """An attack by so many connections that send small requests for ever, and read the answers."""

    def attack(service: Service, seconds: float) -> str:
        end = time.monotonic() + seconds
        with ExitStack() as stack:
            clients = connect(service, count, lambda number: f"127.63.0.{1 + number % 250}", end)
            for client in clients:
                stack.enter_context(client)
            answers = _exchange(clients, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 1000, end)
        return f"{answers} requests answered, {len(clients)} connections"

    return attack


def _exchange(clients: list[socket.socket], block: bytes, end: float) -> int:
    """Send `block` over each connection again and again, and read what comes. Returns how many came."""
    answers = 0
    left = {client: memoryview(b"") for client in clients}
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while left and time.monotonic() < end:
            for key, events in selector.select(0.1):
                client = key.fileobj
                try:
                    if events & selectors.EVENT_READ:
                        data = client.recv(262_144)
                        answers += data.count(b"HTTP/1.1 200")
                        if not data:
                            raise ConnectionResetError
                    if events & selectors.EVENT_WRITE:
                        piece = left[client] or memoryview(block)
                        left[client] = piece[client.send(piece) :]
                except BlockingIOError:
                    continue
                except OSError:
                    selector.unregister(client)
                    del left[client]
    return answers


# --- slowhttptest ---------------------------------------------------------------------------------------


def has_slowhttptest() -> bool:
    """Whether that program is installed."""
    return shutil.which("slowhttptest") is not None


def slowly(mode: str, path: str = "/v1/images", *more: str) -> Callable[[Service, float], str]:
    """An attack of slowhttptest in one of its modes, on `path`; on a large variant if that is `large`."""

    def attack(service: Service, seconds: float) -> str:
        target = path
        if path == "large":
            made = service.upload(noise(2400, 1800), prefer="wait=60").json()
            target = made["variants"]["large"]["url"]
        command = ["slowhttptest", mode, "-c", str(SLOW), "-r", "500", "-l", f"{seconds:.0f}", "-p", "5"]
        command += ["-u", service.url + target, *more]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
        shown = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", ran.stdout)
        available = re.findall(r"service available:\s*(\w+)", shown)
        return f"{SLOW} connections; available: {available.count('YES')} of {len(available)} looks"

    return attack
