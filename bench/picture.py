"""The picture as the answer to an upload, compared with the document and a second request for the picture.

    python -m bench.picture [--rounds 5] [--uploads 50] [--json FILE]

One client, one connection, a photo of two megapixels, one variant (`?variants=thumb`). Either it sends
`Accept: image/*` and reads the picture; or it sends `Prefer: wait`, reads the document of the `201` and asks
for the variant. The two are measured alternately: milliseconds until the picture is there, and CPU of the
server without its workers.
"""

import http.client
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.photos import photo_file
from bench.rig import HOST, Report, Serving, median, options, spillway

_OPEN = {"rate": 100_000, "burst": 1_000_000, "client_share": 200, "log_format": "json", "workers": 1}
"""Settings under which no guard refuses a single address."""
_PATH = "/v1/images?variants=thumb"
_TYPE = {"Content-Type": "image/jpeg"}


class Round(NamedTuple):
    """One measurement, per picture: milliseconds, and milliseconds of CPU of the server."""

    wall_ms: float
    server_ms: float


def _cpu_s(pid: int) -> float:
    """Seconds of CPU of a process, in nanoseconds and not in ticks (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, fields: dict[str, str]
) -> tuple[int, bytes]:
    connection.request(method, path, body, fields)
    answer = connection.getresponse()
    return answer.status, answer.read()


def picture_alone(connection: http.client.HTTPConnection, photo: bytes) -> bytes:
    """The thumb of a photo by one request."""
    status, picture = _request(connection, "POST", _PATH, photo, {**_TYPE, "Accept": "image/*"})
    if status != 200:
        raise SystemExit(f"an upload was answered {status}, not 200")
    return picture


def document_first(connection: http.client.HTTPConnection, photo: bytes) -> bytes:
    """The thumb of a photo by two requests."""
    status, document = _request(connection, "POST", _PATH, photo, {**_TYPE, "Prefer": "wait=60"})
    if status != 201:
        raise SystemExit(f"an upload was answered {status}, not 201")
    return _request(connection, "GET", json.loads(document)["url"], None, {})[1]


def measure(serving: Serving, photo: bytes, uploads: int) -> tuple[Round, Round]:
    """Both ways, in turns of a tenth of the uploads."""
    connection = http.client.HTTPConnection(HOST, serving.port)
    ways = (picture_alone, document_first)
    wall, cpu = [0.0, 0.0], [0.0, 0.0]
    for _ in range(10):
        for number, way in enumerate(ways):
            began, used = time.monotonic(), _cpu_s(serving.pid)
            for _ in range(max(1, uploads // 10)):
                way(connection, photo)
            wall[number] += time.monotonic() - began
            cpu[number] += _cpu_s(serving.pid) - used
    connection.close()
    count = 10 * max(1, uploads // 10)
    first, second = (Round(1000 * wall[n] / count, 1000 * cpu[n] / count) for n in range(2))
    return first, second


def main() -> None:
    """Measure, alternating, and report medians."""
    parser = options(__doc__, rounds=5)
    parser.add_argument("--uploads", type=int, default=50, help="of each kind in a round (%(default)s)")
    chosen = parser.parse_args()
    with TemporaryDirectory(prefix="spillway-bench-") as name:
        folder = Path(name)
        photo = photo_file(folder, "jpeg", 2).read_bytes()
        with spillway(folder, **_OPEN) as serving:
            measure(serving, photo, 10)
            rounds = [measure(serving, photo, chosen.uploads) for _ in range(chosen.rounds)]
    report = Report("bench.picture")
    for number, what in enumerate(("the picture as the answer", "201 and a second request")):
        report.add(
            what=what,
            ms=median([each[number].wall_ms for each in rounds]),
            server_cpu_ms=median([each[number].server_ms for each in rounds]),
        )
    report.add(
        what="ratio, median of rounds",
        ms=median([one.wall_ms / two.wall_ms for one, two in rounds]),
        server_cpu_ms=median([one.server_ms / two.server_ms for one, two in rounds]),
    )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
