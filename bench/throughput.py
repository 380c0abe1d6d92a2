"""Photos per second through HTTP, compared with the workers' pipeline called in a bare loop.

    python -m bench.throughput [--rounds 5] [--seconds 8] [--json FILE]

A real `spillway serve` is kept busy by a closed loop of clients, each of which uploads a 12 MP photo and
waits for its variants (`Prefer: wait`) before the next. The bare loop is as many processes as there are
workers, each calling the workers' pipeline on the same file: no HTTP, no queue, no fork, no fsync. The two
are measured alternately. The clients run on the same cores as the server, so their CPU is part of what HTTP
costs here.
"""

import asyncio
import functools
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import uvloop

from app.runtime.cgroup import usable_cpus
from app.settings import Settings
from bench.photos import photo_file
from bench.rig import HOST, Report, Serving, cpu_s, median, options, spillway
from workers.codecs import load_codecs
from workers.imaging import create_files, make_variants
from workers.messages import Task

_CLIENTS_PER_WORKER = 3
_WARM_S = 1.5
_START_S = 4.0
"""Long enough for every process of the bare loop to have started."""
OPEN = {"rate": 100_000, "burst": 1_000_000, "client_share": 200, "log_format": "json"}
"""Settings under which no guard refuses a single address."""


class Round(NamedTuple):
    """One measurement: photos per second, CPU seconds per photo of each part, and how many photos."""

    per_s: float
    server_s: float
    workers_s: float
    clients_s: float = 0.0
    photos: int = 0


# --- through HTTP ---------------------------------------------------------------------------------------


async def _upload(port: int, request: bytes, finished: list[float], end: float) -> None:
    """One client: upload a photo and wait for its variants, repeatedly until `end`."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        while time.monotonic() < end:
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 201 "):
                raise SystemExit(f"an upload was answered {head.splitlines()[0].decode()!r}, not 201")
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            finished.append(time.monotonic())
    finally:
        writer.close()


async def _load(port: int, request: bytes, clients: int, end: float) -> list[float]:
    finished: list[float] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_upload(port, request, finished, end))
    return finished


def through_http(serving: Serving, photo: bytes, clients: int, seconds: float) -> Round:
    """Keep the server busy for `seconds`, measured after a time to warm up."""
    request = (
        b"POST /v1/images HTTP/1.1\r\nHost: bench\r\nPrefer: wait=60\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % len(photo)
    ) + photo
    server, everything, clients_s = cpu_s(serving.pid), serving.cpu_s(), time.process_time()
    begin = time.monotonic()
    end = begin + _WARM_S + seconds
    finished = uvloop.run(_load(serving.port, request, clients, end))
    server, everything = cpu_s(serving.pid) - server, serving.cpu_s() - everything
    clients_s = time.process_time() - clients_s
    steady = sorted(moment for moment in finished if begin + _WARM_S <= moment <= end)
    photos = len(finished)
    return Round(
        (len(steady) - 1) / (steady[-1] - steady[0]),
        server / photos,
        (everything - server) / photos,
        clients_s / photos,
        photos,
    )


# --- bare -----------------------------------------------------------------------------------------------


def _bare(
    source: Path, folder: Path, variants: Sequence[str], number: int, end: float
) -> tuple[float, float]:
    """Call the pipeline until `end`: photos per second, and CPU seconds per photo."""
    load_codecs()
    own = folder / str(number)
    own.mkdir(exist_ok=True)
    job = Task("bench", str(source), str(own), tuple(variants), 10**8, 30.0, 2**30)
    make_variants(job, create_files(job))
    photos, began, used = 0, time.monotonic(), time.process_time()
    while not photos or time.monotonic() < end:
        make_variants(job, create_files(job))
        photos += 1
    return photos / (time.monotonic() - began), (time.process_time() - used) / photos


def bare(pool: ProcessPoolExecutor, processes: int, source: Path, folder: Path, seconds: float) -> Round:
    """The pipeline alone, in `processes` at once."""
    variants = [variant.spec for variant in Settings.model_fields["variants"].default]
    end = time.monotonic() + seconds
    loop = functools.partial(_bare, source, folder, variants, end=end)
    found = list(pool.map(loop, range(processes)))
    return Round(sum(rate for rate, _ in found), 0.0, median([used for _, used in found]))


def main() -> None:
    """Measure, alternating, and report medians."""
    parser = options(__doc__, rounds=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement (%(default)s)")
    parser.add_argument("--workers", type=int, default=usable_cpus(), help="as many as CPUs (%(default)s)")
    chosen = parser.parse_args()
    workers = chosen.workers
    report = Report("bench.throughput")
    http: list[Round] = []
    loop: list[Round] = []
    with (
        TemporaryDirectory(prefix="spillway-bench-") as name,
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,
    ):
        folder = Path(name)
        source = photo_file(folder, "jpeg", 12)
        photo = source.read_bytes()
        bare(pool, workers, source, folder, _START_S)
        with spillway(folder, workers=workers, **OPEN) as serving:
            for _ in range(chosen.rounds):
                http.append(through_http(serving, photo, workers * _CLIENTS_PER_WORKER, chosen.seconds))
                loop.append(bare(pool, workers, source, folder, chosen.seconds))
    for what, rounds in (("spillway, through HTTP", http), ("pipeline in a bare loop", loop)):
        report.add(
            what=what,
            photos_per_s=median([one.per_s for one in rounds]),
            server_ms=1000 * median([one.server_s for one in rounds]),
            workers_ms=1000 * median([one.workers_s for one in rounds]),
            clients_ms=1000 * median([one.clients_s for one in rounds]),
        )
    ratios = [one.per_s / other.per_s for one, other in zip(http, loop, strict=True)]
    cpu = [other.workers_s / (one.server_s + one.workers_s) for one, other in zip(http, loop, strict=True)]
    report.add(what="ratio, median of rounds", photos_per_s=median(ratios))
    report.notes.append(
        f"{workers} workers, {workers * _CLIENTS_PER_WORKER} clients, 12 MP JPEG of {len(photo):,} bytes to "
        f"the default ladder; CPU ms are per photo. Photos per CPU-second of server and workers: "
        f"{median(cpu):.2f} of the bare loop's."
    )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
