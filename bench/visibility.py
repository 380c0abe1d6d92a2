"""Whether a refused client sees its refusal, even if it writes its whole body before it reads.

    python -m bench.visibility [--requests 1000] [--megabytes 10] [--link-requests 100] [--json FILE]

Each kind of client, eight at once, uploads a body of `--megabytes` to a service that has no token for it. A
refusal is seen when the client gets 429 with the whole problem document; it is not when the connection is
reset or the answer cut short. The bench runs over the loopback and then, where root may make one, over a link
that delays each packet by 25 ms and loses 1 % of them, with a body of 1 MB: such a link carries little more
in the seconds for which the service goes on reading a refused body. Clients that are not installed are left
out and named.
"""

import asyncio
import contextlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.link import Unavailable, lossy_link
from bench.refusals import EMPTY, sample
from bench.rig import HOST, Report, options, spillway

_AT_ONCE = 8
_PATIENCE_S = 60.0
_SEEN = "seen"
_TYPE = {"Content-Type": "image/jpeg"}

Once = Callable[[], str]
"""One upload: `_SEEN`, or what came instead."""


def _judged(status: int, body: bytes) -> str:
    return _SEEN if status == 429 and body.endswith(b"}") and b'"guard"' in body else f"status {status}"


# --- clients --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def raw(url: str, file: Path) -> Iterator[Once]:
    """A plain socket that writes the whole body before it reads."""
    host, _, port = url.removeprefix("http://").partition(":")
    body = file.read_bytes()
    head = b"POST /v1/images HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)

    def once() -> str:
        with socket.create_connection((host, int(port)), _PATIENCE_S) as connection:
            connection.sendall(head)
            connection.sendall(body)
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
        return _judged(int(answer[9:12] or 0), answer)

    yield once


@contextlib.contextmanager
def curl(url: str, file: Path, *options: str) -> Iterator[Once]:
    """curl: one process for each upload, as a form."""
    command = ["curl", "-sS", "--noproxy", "*", "-w", "%{http_code}", "-F", f"file=@{file}", *options]

    def once() -> str:
        done = subprocess.run([*command, f"{url}/v1/images"], capture_output=True, check=False)
        if done.returncode:
            return done.stderr.decode().strip() or f"curl {done.returncode}"
        return _judged(int(done.stdout[-3:]), done.stdout[:-3])

    yield once


@contextlib.contextmanager
def curl_without_expect(url: str, file: Path) -> Iterator[Once]:
    """curl without `Expect: 100-continue`: it sends the body at once."""
    with curl(url, file, "-H", "Expect:") as once:
        yield once


@contextlib.contextmanager
def httpx(url: str, file: Path) -> Iterator[Once]:
    """httpx: one client for all uploads, which reuses connections."""
    import httpx

    body = file.read_bytes()
    with httpx.Client(timeout=_PATIENCE_S, trust_env=False) as client:

        def once() -> str:
            answer = client.post(f"{url}/v1/images", content=body, headers=_TYPE)
            return _judged(answer.status_code, answer.content)

        yield once


@contextlib.contextmanager
def requests(url: str, file: Path) -> Iterator[Once]:
    """requests: one session for all uploads, which reuses connections."""
    import requests

    body = file.read_bytes()
    with requests.Session() as session:
        session.trust_env = False

        def once() -> str:
            answer = session.post(f"{url}/v1/images", data=body, headers=_TYPE, timeout=_PATIENCE_S)
            return _judged(answer.status_code, answer.content)

        yield once


@contextlib.contextmanager
def aiohttp(url: str, file: Path) -> Iterator[Once]:
    """aiohttp: a session on an event loop of its own for each upload."""
    import aiohttp

    body = file.read_bytes()

    async def upload() -> str:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_PATIENCE_S)) as session,
            session.post(f"{url}/v1/images", data=body, headers=_TYPE) as answer,
        ):
            return _judged(answer.status, await answer.read())

    yield lambda: asyncio.run(upload())


_NODE = """
const [url, file] = process.argv.slice(1)
const body = require('fs').readFileSync(file)
require('readline').createInterface({input: process.stdin}).on('line', async line => {
  let said
  try {
    const answer = await fetch(url, {method: 'POST', headers: {'content-type': 'image/jpeg'}, body})
    const text = await answer.text()
    said = answer.status == 429 && text.endsWith('}') ? 'seen' : 'status ' + answer.status
  } catch (error) { said = String(error.cause?.code ?? error) }
  console.log(said.replaceAll('\\n', ' '))
})
"""


@contextlib.contextmanager
def node(url: str, file: Path) -> Iterator[Once]:
    """fetch of Node: one process for each concurrent upload, which uploads once for each line it reads."""
    command = ["node", "-e", _NODE, f"{url}/v1/images", str(file)]
    with contextlib.ExitStack() as stack:
        idle: list[Any] = []
        for _ in range(_AT_ONCE):
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            idle.append(process)

        def once() -> str:
            process = idle.pop()
            try:
                process.stdin.write("\n")
                process.stdin.flush()
                return str(process.stdout.readline().strip() or "ended")
            finally:
                idle.append(process)

        yield once


_Client = Callable[[str, Path], contextlib.AbstractContextManager[Once]]
_COMMANDS: dict[_Client, str] = {curl: "curl", curl_without_expect: "curl", node: "node"}
CLIENTS: tuple[_Client, ...] = (raw, curl, curl_without_expect, httpx, requests, aiohttp, node)


def is_there(client: _Client) -> bool:
    """Whether the command or the package of a client is installed."""
    if client is raw:
        return True
    if client in _COMMANDS:
        return shutil.which(_COMMANDS[client]) is not None
    return importlib.util.find_spec(client.__name__) is not None


# --- the bench ------------------------------------------------------------------------------------------


def outcomes(client: _Client, url: str, file: Path, requests: int) -> Counter[str]:
    """How many uploads of one kind of client had each outcome."""

    def one(once: Once) -> str:
        try:
            return once()
        except Exception as error:  # whatever a client raises, it has not seen its refusal
            return f"{type(error).__name__}: {error}"[:100]

    with client(url, file) as once, ThreadPoolExecutor(_AT_ONCE) as threads:
        return Counter(threads.map(one, [once] * requests))


def measure(report: Report, host: str, link: str, requests: int, size: int) -> None:
    """Have each installed client refused `requests` times at `host`, and add a row for each."""
    with TemporaryDirectory(prefix="spillway-bench-") as name:
        folder = Path(name)
        file = folder / "large.jpg"
        file.write_bytes(bytes(size))
        with spillway(folder, **EMPTY | {"host": "0.0.0.0"}) as serving:  # noqa: S104 - for the length of the bench
            sample(serving.port, host)
            for client in filter(is_there, CLIENTS):
                cpu, began = serving.cpu_s(), time.monotonic()
                found = outcomes(client, f"http://{host}:{serving.port}", file, requests)
                seconds = time.monotonic() - began
                seen = found.pop(_SEEN, 0)
                report.add(
                    client=client.__name__.replace("_", " "),
                    link=link,
                    refused=requests,
                    seen=seen,
                    seconds=seconds,
                    server_ms=1000 * (serving.cpu_s() - cpu) / requests,
                )
                report.notes += [f"{client.__name__}, {link}: {n} times {what}" for what, n in found.items()]


def main() -> int:
    """Measure and report. Returns 1 when a refusal was not seen."""
    parser = options(__doc__, rounds=1)
    parser.add_argument("--requests", type=int, default=1000, help="of each client (%(default)s)")
    parser.add_argument("--megabytes", type=float, default=10, help="of each body (%(default)s)")
    parser.add_argument("--link-requests", type=int, default=100, help="over the lossy link (%(default)s)")
    chosen = parser.parse_args()
    size = int(chosen.megabytes * 10**6)
    report = Report("bench.visibility")
    measure(report, HOST, "loopback", chosen.requests, size)
    try:
        with lossy_link(delay_ms=25, loss_percent=1) as host:
            measure(report, host, "50 ms, 1 % lost", chosen.link_requests, min(size, 10**6))
    except Unavailable as reason:
        report.notes.append(f"Not over a lossy link: {reason}.")
    absent = [client.__name__ for client in CLIENTS if not is_there(client)]
    if absent:
        report.notes.append(f"Not installed: {', '.join(absent)}.")
    report.show(chosen.json)
    return int(any(row["seen"] < row["refused"] for row in report.rows))


if __name__ == "__main__":
    sys.exit(main())
