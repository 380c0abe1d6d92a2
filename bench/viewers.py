"""CPU of the server while a number of pages are open and nothing else happens.

    python -m bench.viewers [--seconds 15] [--rounds 3] [--json FILE]

Each viewer reads /v1/stats/stream from an address of its own, as an open page does. The bench begins when the
history of the last minute is full. The numbers of viewers are measured alternately.
"""

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.rig import HOST, Report, Serving, median, options, spillway

_VIEWERS = (0, 100, 400)
_FULL_S = 60.0
_SETTLING_S = 2.0
_ASK = b"GET /v1/stats/stream HTTP/1.1\r\nHost: bench\r\n\r\n"


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement (%(default)s)")
    given = parser.parse_args()
    report = Report("viewers")
    found: dict[int, list[float]] = {count: [] for count in _VIEWERS}
    with TemporaryDirectory() as folder, spillway(Path(folder)) as server:
        time.sleep(_FULL_S)
        for _ in range(given.rounds):
            for count in _VIEWERS:
                with watching(server.port, count) as viewers:
                    read(viewers, _SETTLING_S)
                    found[count].append(share(server, viewers, given.seconds))
    nobody = median(found[0])
    for count, shares in found.items():
        row = {"viewers": count, "%_of_a_core": median(shares)}
        report.add(**row, **({"%_per_100": (median(shares) - nobody) / count * 100} if count else {}))
    report.show(given.json)


@contextmanager
def watching(port: int, count: int) -> Iterator[selectors.BaseSelector]:
    """Keep `count` streams open for the length of the block."""
    with selectors.DefaultSelector() as viewers:
        for number in range(count):
            source = f"127.9.{number // 200}.{1 + number % 200}"
            connection = socket.create_connection((HOST, port), source_address=(source, 0))
            connection.sendall(_ASK)
            viewers.register(connection, selectors.EVENT_READ)
        yield viewers
        for key in list(viewers.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]


def read(viewers: selectors.BaseSelector, seconds: float) -> None:
    """Read from all streams for `seconds`."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for key, _ in viewers.select(left):
            key.fileobj.recv(65_536)  # type: ignore[union-attr]


def share(server: Serving, viewers: selectors.BaseSelector, seconds: float) -> float:
    """Per cent of a core that the server uses in `seconds`, while the streams are read."""
    began, before = time.monotonic(), server.cpu_s()
    read(viewers, seconds)
    return (server.cpu_s() - before) / (time.monotonic() - began) * 100


if __name__ == "__main__":
    main()
