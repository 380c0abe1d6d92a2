"""Attacks by uploads and by heads of uploads: bombs, reservations that nobody redeems, dripping repeats."""

import io
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import httpx
from PIL import Image

from bench.hostile.honest import PHOTO
from tests.service import Service
from tests.system.hostile.test_bombs import bombs

PROXY = "127.200.0.1"
NETWORKS = 100_000
GHOST_NETWORKS, GHOSTS_PER_NETWORK = 60, 10
REPEATS = 20
_FILLERS, _GHOSTS_AT_ONCE = 4, 8
_FILLED_WITHIN_S = 10.0
_FULL_AFTER_S = 5.0
_DRIP_BYTES = 2048
_DRIP_INTERVAL_S = 0.1


def noise(width: int, height: int) -> bytes:
    """A JPEG that costs as much as one of its size can."""
    file = io.BytesIO()
    picture = Image.frombytes("RGB", (width, height), os.urandom(width * height * 3))
    picture.save(file, "JPEG", quality=95)
    return file.getvalue()


def networks(service: Service, seconds: float) -> str:
    """Uploads from ever new IPv6 networks, as a trusted proxy names them."""
    request = b"POST /v1/images HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n"
    end, sent = time.monotonic() + seconds, 0
    with ExitStack() as stack:
        clients = [stack.enter_context(service.connect(PROXY)) for _ in range(50)]
        while sent < NETWORKS and time.monotonic() < end:
            for number, client in enumerate(clients, sent):
                network = divmod(number, 0x10000)
                client.send(request + b"X-Forwarded-For: 2001:db8:%x:%x::1\r\n\r\n" % network)
            for client in clients:
                client.answer()
            sent += len(clients)
    limiter = service.stats()["limiter"]
    return f"{sent} networks: {limiter['clients']} of {limiter['capacity']} places"


def unpacked(service: Service, seconds: float) -> str:
    """Decompression bombs of every format."""
    files, end, answers = bombs(), time.monotonic() + seconds, 0
    for data in files.values():
        if time.monotonic() > end:
            break
        service.upload(data, prefer="wait=20")
        answers += 1
    service.settled()
    return f"{answers} bombs of {len(files)} kinds"


def ghosts(service: Service, seconds: float) -> str:
    """Heads of uploads from many networks while the queue is full; then only the honest client is there.

    Each head is refused and reserves a place, which nobody redeems.
    """
    photo, calm = noise(1600, 1200), threading.Event()

    def fill(number: int) -> None:
        while not calm.is_set():
            with suppress(httpx.HTTPError):
                service.upload(photo, address=f"127.64.{number}.1")

    with ThreadPoolExecutor(_FILLERS + _GHOSTS_AT_ONCE) as threads:
        for number in range(_FILLERS):
            threads.submit(fill, number)
        end = time.monotonic() + _FILLED_WITHIN_S
        while time.monotonic() < end and not _leave_ghost(service, GHOST_NETWORKS, 0):
            time.sleep(0.05)
        heads = [divmod(number, GHOSTS_PER_NETWORK) for number in range(GHOST_NETWORKS * GHOSTS_PER_NETWORK)]
        refused = sum(threads.map(lambda head: _leave_ghost(service, *head), heads))
        outstanding = service.stats()["backlog"]["outstanding"]
        time.sleep(_FULL_AFTER_S)  # in which the honest client is given a moment behind all of theirs
        calm.set()
    time.sleep(seconds)
    return f"{refused} of {len(heads)} heads refused, {outstanding} reservations left"


def _leave_ghost(service: Service, network: int, number: int) -> bool:
    """Send the head of an upload and forget it. Whether it was refused by the queue."""
    fields = "Content-Type: image/jpeg", f"Content-Length: {500_000 + number}", "Expect: 100-continue"
    with suppress(OSError, AssertionError), service.connect(f"127.65.{network}.{1 + number // 2}") as client:
        client.head("POST /v1/images", *fields)
        return client.answer().status == 503
    return False


def repeats(service: Service, seconds: float) -> str:
    """One client repeats its upload many times at once, each so slowly that it is only just fast enough."""
    end, sent = time.monotonic() + seconds, 0
    address, key = "127.66.0.1", '"dripping"'
    first = service.upload(PHOTO, address=address, prefer="wait=20", **{"idempotency-key": key})
    assert first.status_code == 201, first.text
    head = "\r\n".join(
        [
            "POST /v1/images HTTP/1.1",
            "Host: a",
            "Content-Type: image/jpeg",
            f"Idempotency-Key: {key}",
            f"Content-Length: {len(PHOTO)}",
            "\r\n",
        ]
    ).encode()
    left: dict[socket.socket, memoryview] = {}
    while time.monotonic() < end:
        while len(left) < REPEATS:
            client = service.connect(address).socket
            client.setblocking(False)
            left[client] = memoryview(head + PHOTO)
            sent += 1
        for client, data in list(left.items()):
            if _is_answered(client):
                client.close()
                del left[client]
            else:
                with suppress(OSError):
                    left[client] = data[client.send(data[:_DRIP_BYTES]) :]
        time.sleep(_DRIP_INTERVAL_S)
    for client in left:
        client.close()
    return f"{sent} repeats of one client, {REPEATS} at once"


def _is_answered(client: socket.socket) -> bool:
    try:
        client.recv(65_536)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
