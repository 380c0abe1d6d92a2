"""CPU time of one refusal by the rate limiter, beside bare uvicorn and beside FastAPI alone.

    python -m bench.refusals [--rounds 3] [--requests 20000] [--json FILE]

Each connection of a closed loop sends an upload (without a body, or with one of 10 KB) and reads its 429,
over keep-alive. The figure is the CPU time of the server's process, from /proc/PID/stat, for all requests of
a round; the server is pinned to one core and the client to another. The baselines answer with exactly the
bytes that Spillway answered: `bare` is an ASGI callable with its answer ready, `depends` a FastAPI dependency
that raises and a handler that writes problem+json; both on the same uvicorn, httptools and uvloop. The
servers are measured alternately.
"""

import http.client
import math
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.baselines.answer import Answer
from bench.rig import HOST, Report, Serving, baseline, cores, cpu_s, median, options, pinned, spillway

_CONNECTIONS = 16
_BODIES = {"no body": 0, "10 KB body": 10_000}
EMPTY = {"rate": 0.001, "burst": 1, "workers": 1}
"""Settings under which one upload empties a client's bucket for a thousand seconds."""
_OWN = {"date", "connection"}
"""Headers that uvicorn adds by itself."""
_MARK = b'"retry_after_ms"'


def sample(port: int, host: str = HOST, token: str | None = None) -> Answer:
    """Empty the bucket of the client, or of the one that a ticket names. Returns the refusal that follows."""
    fields = {"Content-Type": "image/jpeg"}
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    for _ in range(2):
        connection = http.client.HTTPConnection(host, port)
        connection.request("POST", "/v1/images", b"", fields)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
    if response.status != 429:
        raise SystemExit(f"an upload from an empty bucket was answered {response.status}, not 429")
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    return Answer(429, [header for header in headers if header[0] not in _OWN], body)


def upload(size: int, fields: bytes = b"") -> bytes:
    """An upload of so many bytes, with further header lines."""
    head = b"POST /v1/images HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n" + fields
    head += b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % size
    return head + b"\xff" * size


def refusal_us(serving: Serving, size: int, requests: int) -> float:
    """Microseconds of the server's CPU for each of about `requests` refusals, spread over all connections."""
    return refusals_us(serving, [upload(size)], requests)


def refusals_us(serving: Serving, uploads: Sequence[bytes], requests: int) -> float:
    """As `refusal_us`, for these uploads in turn."""
    turn = cycle(uploads)
    connections = [socket.create_connection((HOST, serving.port)) for _ in range(_CONNECTIONS)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _loop(connections, turn, 50)
    rounds = math.ceil(requests / _CONNECTIONS)
    before = cpu_s(serving.pid)
    _loop(connections, turn, rounds)
    used = cpu_s(serving.pid) - before
    for connection in connections:
        connection.close()
    return 1e6 * used / (rounds * _CONNECTIONS)


def _loop(connections: Sequence[socket.socket], uploads: Iterator[bytes], rounds: int) -> None:
    """Send an upload over every connection and read all answers, `rounds` times."""
    for _ in range(rounds):
        for connection in connections:
            connection.sendall(next(uploads))
        for connection in connections:
            _answered(connection)


def _answered(connection: socket.socket) -> None:
    """Read one whole refusal: its problem document contains `_MARK` and ends with a brace."""
    answer = connection.recv(65_536)
    while not (answer.endswith(b"}") and _MARK in answer):
        piece = connection.recv(65_536)
        if not piece:
            raise SystemExit("a connection was closed that should have been kept alive")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 429 "):
        raise SystemExit(f"an upload was answered {answer[:40]!r}, not 429")


def main() -> None:
    """Measure, alternating, and report medians and ratios."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--requests", type=int, default=20_000, help="of each round (%(default)s)")
    chosen = parser.parse_args()
    server, client = cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="spillway-bench-")))
        ours = stack.enter_context(spillway(folder, core=server, **EMPTY))
        answer = sample(ours.port)
        answer.save(folder / "answer.json")
        saved = str(folder / "answer.json")
        servers = {
            "bare": stack.enter_context(baseline("bare", saved, core=server)),
            "spillway": ours,
            "depends": stack.enter_context(baseline("depends", saved, core=server)),
        }
        stack.enter_context(pinned(client))
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(chosen.rounds):
            for body, size in _BODIES.items():
                for name, serving in servers.items():
                    one = refusal_us(serving, size, chosen.requests)
                    found.setdefault((name, body), []).append(one)
    report = Report("bench.refusals")
    for name in servers:
        row: dict[str, float] = {}
        for body in _BODIES:
            column = body.replace(" ", "_")
            own, least = found[name, body], found["bare", body]
            row[f"{column}_us"] = median(own)
            row[f"{column}_ratio"] = median([a / b for a, b in zip(own, least, strict=True)])
        report.add(server=name, **row)
    size = len(answer.body) + sum(len(name) + len(value) + 4 for name, value in answer.headers)
    report.notes.append(
        f"Medians of {chosen.rounds} rounds of {chosen.requests} requests over {_CONNECTIONS} connections; "
        f"every answer is a 429 of about {size} bytes. Ratios are to bare, round by round."
    )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
