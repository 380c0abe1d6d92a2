"""The load generator: uploads at moments fixed beforehand, each from a loopback address of its own.

    python -m bench.overload.crowd PORT PHOTO '{"rate": 90, "seconds": 20}' > answers.json

It is an open loop: a slow server gets no fewer uploads. It runs in a process of its own and uses little CPU
(`sendfile` from memory), since it shares the cores with the server. Each client connects, writes its whole
photo before it reads, and sees an answer after a broken pipe but none after a reset, as urllib3 and requests
do. After `patience` seconds it gives up. The generator stops by itself.
"""

import collections
import errno
import json
import os
import random
import re
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

_BOUNDARY = b"----photo"
_PIECE = 1 << 16
"""One pipe's worth: of a longer piece that a reset cuts short, sendfile(2) does not tell the error."""
_SEED = 7
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_DRIP_S = 1.0
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN, errno.ETIMEDOUT)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent: `burst` uploads at once, then `rate` a second for `seconds`, at random moments or evenly.

    In addition `drips` uploads trickle at `drip_rate` bytes per second and never end.
    """

    rate: float
    seconds: float
    burst: int = 0
    evenly: bool = False
    patience: float = 10.0
    drips: int = 0
    drip_rate: int = 9 * 1024

    def moments(self) -> Iterator[float]:
        """Seconds after the start at which clients come."""
        chance = random.Random(_SEED)  # noqa: S311 - arrivals, not a secret
        yield from (0.0 for _ in range(self.burst))
        now = 0.0
        while self.rate:
            now += 1 / self.rate if self.evenly else chance.expovariate(self.rate)
            if now >= self.seconds:
                return
            yield now


class Answer(NamedTuple):
    """The answer to one client. Times are in seconds; `at` is the moment it came, since the epoch."""

    at: float
    """When it came."""
    status: int
    """0: none; it was reset, or the connection closed without a word. -1: it gave up waiting."""
    first_s: float
    """From connecting to the first byte of the answer."""
    read_s: float
    """From connecting to the answer in its hands, the photo written."""
    id: str | None = None
    estimate_s: float | None = None


class _Client:
    """One upload that is being sent or waits for its answer."""

    __slots__ = ("answer", "at", "began", "first", "number", "offset", "reset", "socket", "writing")

    def __init__(self, number: int, port: int) -> None:
        self.at, self.began = time.time(), time.monotonic()
        self.first = 0.0
        self.offset = 0
        self.writing, self.reset = True, False
        self.answer = b""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.number = self.socket.fileno()
        self.socket.bind((f"127.{1 + number // 64_516}.{1 + number // 254 % 254}.{1 + number % 254}", 0))
        self.socket.connect_ex(("127.0.0.1", port))

    def ended(self, status: int, **more: Any) -> Answer:
        now = time.monotonic()
        self.socket.close()
        return Answer(self.at, status, (self.first or now) - self.began, now - self.began, **more)


class Crowd:
    """All clients, in one thread."""

    def __init__(self, port: int, photo: Path, plan: Plan) -> None:
        """The photo is sent as a form with one file."""
        self._port, self._plan = port, plan
        self._request, self._size = _request_file(photo.read_bytes())
        self._poll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._drips: collections.deque[_Client] = collections.deque()
        self._drip_at = 0.0
        self._count = 0
        self.answers: list[Answer] = []
        self.lateness: list[float] = []
        self.drips_ended = 0

    def run(self) -> None:
        """Send everything, and wait for the answers."""
        self._start_drips()
        begin = time.monotonic()
        for moment in self._plan.moments():
            while (left := begin + moment - time.monotonic()) > 0:
                self._turn(left)
            self.lateness.append(-left)
            self._connect()
        end = begin + self._plan.seconds
        while (now := time.monotonic()) < end or (self._clients and now < end + self._plan.patience):
            self._turn(0.1)

    def _connect(self) -> None:
        client = _Client(self._count, self._port)
        self._count += 1
        self._clients[client.number] = client
        self._poll.register(client.socket, _EDGES)

    def _turn(self, longest: float) -> None:
        """Handle sockets that are ready; wait for at most `seconds`."""
        if self._drips:
            longest = min(longest, max(0.0, self._drip_at - time.monotonic()))
        for descriptor, events in self._poll.poll(min(longest, 0.1)):
            client = self._clients.get(descriptor)
            if client is not None:
                self._serve(client, events)
        self._drip()
        patience = self._plan.patience
        while self._clients:  # in order of arrival
            oldest = next(iter(self._clients.values()))
            if time.monotonic() - oldest.began < patience:
                return
            self._end(oldest, oldest.ended(-1))

    def _serve(self, client: _Client, events: int) -> None:
        if not client.first and events & select.EPOLLIN:
            client.first = time.monotonic()
        if client.writing:
            self._write(client)
            client.writing &= not events & _BROKEN
        if client.writing:
            return
        answer = client.ended(0) if client.reset else self._read(client)
        if answer is not None:
            self._end(client, answer)

    def _end(self, client: _Client, answer: Answer) -> None:
        del self._clients[client.number]
        self.answers.append(answer)

    def _write(self, client: _Client) -> None:
        try:
            while client.offset < self._size:
                client.offset += os.sendfile(client.number, self._request, client.offset, _PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return
            if error.errno not in _GONE:
                raise
            client.reset = error.errno == errno.ECONNRESET
        client.writing = False

    @staticmethod
    def _read(client: _Client) -> Answer | None:
        """Read from a client's socket, and finish it once its answer is complete or can no longer come."""
        try:
            while data := client.socket.recv(65_536):
                client.answer += data
                if (answer := _parsed(client.answer)) is not None:
                    return client.ended(**answer)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _GONE:
                raise
        return client.ended(0)

    # --- those who trickle -----------------------------------------------------------------------------

    def _start_drips(self) -> None:
        for number in range(self._plan.drips):
            self._drips.append(_Client(60_000 + number, self._port))

    def _drip(self) -> None:
        now = time.monotonic()
        if not self._drips or now < self._drip_at:
            return
        self._drip_at = now + _DRIP_S / len(self._drips)
        client = self._drips[0]
        self._drips.rotate(-1)
        piece = int(self._plan.drip_rate * _DRIP_S)
        try:
            client.offset += os.sendfile(client.number, self._request, client.offset, piece)
        except BlockingIOError:
            return
        except OSError:
            self._drips.remove(client)
            client.socket.close()
            self.drips_ended += 1


def _request_file(photo: bytes) -> tuple[int, int]:
    """The whole request as a file in memory (memfd), from which the kernel sends, and its length."""
    form = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n' % _BOUNDARY
    form += b"Content-Type: image/jpeg\r\n\r\n%b\r\n--%b--\r\n" % (photo, _BOUNDARY)
    head = b"POST /v1/images HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n"
    head += b"Content-Type: multipart/form-data; boundary=%b\r\n" % _BOUNDARY
    request = head + b"Content-Length: %d\r\n\r\n" % len(form) + form
    descriptor = os.memfd_create("request")
    os.write(descriptor, request)
    return descriptor, len(request)


def _parsed(answer: bytes) -> dict[str, Any] | None:
    """The status, and an accepted upload's id and estimate; None while the answer is incomplete."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return None
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if len(body) < int(length[1] if length else 0):
        return None
    status = int(head[9:12])
    if status != 202:
        return {"status": status}
    document = json.loads(body)
    estimate = document.get("estimated_wait_ms")
    return {"status": status, "id": document["id"], "estimate_s": estimate and estimate / 1000}


def main() -> None:
    """Run one plan, and print the answers as JSON."""
    port, photo, plan = int(sys.argv[1]), Path(sys.argv[2]), Plan(**json.loads(sys.argv[3]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = Crowd(port, photo, plan)
    print("ready", flush=True)
    sys.stdin.readline()
    begin, used = time.time(), time.process_time()
    crowd.run()
    late = sorted(crowd.lateness) or [0.0]
    found = {
        "plan": asdict(plan),
        "begin": begin,
        "cpu_s": time.process_time() - used,
        "late_p99_s": late[int(len(late) * 0.99)],
        "drips_ended": crowd.drips_ended,
        "answers": crowd.answers,
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
