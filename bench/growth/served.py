"""The whole service while thousands of jobs wait and thousands of event streams follow them.

    python -m bench.growth.served [--streams 5000] [--jobs 5500] [--seconds 10] [--json FILE]

A queue is filled with photos of a few kilobytes, of which the one worker does a few while streams are opened
and health is asked; then all streams leave, and health is asked again. Both ends need as many open files as
there are streams (`ulimit -n`).
"""

import asyncio
import io
import json
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from bench.rig import HOST, Report, Serving, cpu_s, median, options, spillway

_AT_ONCE = 20
_SETTLING_S = 6.0
_PAUSE_S = 0.1


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, rounds=1)
    parser.add_argument("--streams", type=int, default=5000, help="(%(default)s)")
    parser.add_argument("--jobs", type=int, default=5500, help="that are accepted, at least (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of the measurement (%(default)s)")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = Report("bench.growth.served")
    jobs = given.jobs
    limits = {"queue_size": jobs, "max_streams": given.streams, "rate": 1000, "burst": 1000, "workers": 1}
    with (
        TemporaryDirectory() as folder,
        spillway(Path(folder), brownout="off", max_wait=86_400, **limits) as it,
    ):
        report.add(**asyncio.run(_measure(it, jobs, given.streams, given.seconds)))
    report.show(given.json)


async def _measure(server: Serving, jobs: int, streams: int, seconds: float) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (3000, 2000), "teal").save(file, "JPEG", quality=1)  # few bytes, but not soon done
    ids: list[str] = []
    for first in range(0, jobs, _AT_ONCE):
        some = (_upload(server.port, number, file.getvalue()) for number in range(first, first + _AT_ONCE))
        ids += [job_id for job_id in await asyncio.gather(*some) if job_id]
    followers = [
        asyncio.create_task(_follow(server.port, number, job_id))
        for number, job_id in enumerate(ids[: -streams - 1 : -1])
    ]
    await asyncio.sleep(_SETTLING_S)
    waiting = json.loads(await _get(server.port, "/v1/stats"))["backlog"]["waiting"]
    before = cpu_s(server.pid)
    took = await _health(server.port, seconds)
    used = (cpu_s(server.pid) - before) / seconds
    open_streams = sum(not follower.done() for follower in followers)
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    afterwards = await _health(server.port, seconds)
    return {
        "jobs_accepted": len(ids),
        "jobs_waiting": waiting,
        "streams": open_streams,
        "%_of_a_core": 100 * used,
        "health_ms": median(took),
        "longest_ms": max(took),
        "longest_once_they_left_ms": max(afterwards),
    }


async def _health(port: int, seconds: float) -> list[float]:
    """Milliseconds of each question for health in that time."""
    end, took = time.monotonic() + seconds, list[float]()
    while time.monotonic() < end:
        began = time.perf_counter()
        await _get(port, "/healthz")
        took.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(_PAUSE_S)
    return took


async def _get(port: int, path: str) -> bytes:
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    return (await _ask(port, 0, request.encode())).partition(b"\r\n\r\n")[2]


async def _connect(port: int, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from an address of its own for each number."""
    source = f"127.9.{number // 200}.{1 + number % 200}"
    return await asyncio.open_connection(HOST, port, local_addr=(source, 0))


async def _ask(port: int, number: int, request: bytes) -> bytes:
    reader, writer = await _connect(port, number)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def _upload(port: int, number: int, photo: bytes) -> str | None:
    """Upload; the id of the job if the upload is accepted."""
    request = "POST /v1/images HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    answer = await _ask(port, number, f"{request}Content-Length: {len(photo)}\r\n\r\n".encode() + photo)
    head, _, body = answer.partition(b"\r\n\r\n")
    return str(json.loads(body)["id"]) if head.split(b" ")[1] == b"202" else None


async def _follow(port: int, number: int, job_id: str) -> None:
    """Read a job's event stream for as long as it goes on."""
    reader, writer = await _connect(port, number)
    writer.write(f"GET /v1/images/{job_id}/events HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    while await reader.read(65_536):
        pass


if __name__ == "__main__":
    main()
