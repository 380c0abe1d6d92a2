"""Attacks by requests whose targets and header fields are as long as they may be, and longer."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle

from bench.hostile.connections import in_threads
from bench.hostile.honest import PHOTO
from tests.service import Service

_CONNECTIONS = 8
_ADDRESS = "127.67.0.1"
_LONG = 30_000
_IN_BOUNDS = 8000
"""Bytes of a target that is still served."""


def long_targets(service: Service, seconds: float) -> str:
    """Requests with long queries, to every kind of route."""
    queries = ["a=b&" * (size // 4) for size in (_LONG, _IN_BOUNDS)] + ["%41" * (_IN_BOUNDS // 3)]
    paths = [
        "GET /healthz",
        "GET /v1/stats",
        "GET /v1/images/none",
        "GET /v1/quota",
        "POST /v1/images",
        "GET /",
    ]
    heads = [(f"{path}?{query}", "Content-Length: 0") for query in queries for path in paths]
    return _ask(service, heads, seconds)


def long_lists(service: Service, seconds: float) -> str:
    """Requests with header fields of 30 KB that are lists, or that an expression could be slow to reject."""
    document = service.upload(PHOTO, prefer="wait=20").json()
    variant = document["variants"]["thumb"]["url"]
    lists = {
        "Prefer": "a,",
        "If-None-Match": 'W/"a",',
        "Accept-Encoding": "a;q=0,",
        "Forwarded": "for=1.2.3.4,",
        "X-Forwarded-For": "1.2.3.4,",
        "Cookie": "a=b;",
    }
    fields = [f"{name}: {element * (_LONG // len(element))}" for name, element in lists.items()]
    fields += [
        "Range: bytes" + " " * _LONG + "x",
        "Prefer: a=" + " " * _LONG + '"',
        "Idempotency-Key: " + '"' * _LONG,
    ]
    heads = [(line, each) for each in fields for line in (f"GET {variant}", "GET /v1/stats")]
    return _ask(
        service, heads + [("POST /v1/images", f"{each}\r\nContent-Length: 0") for each in fields], seconds
    )


def _ask(service: Service, heads: Sequence[tuple[str, str]], seconds: float) -> str:
    """Send these requests in turn, over some connections at once from one address."""
    counts: dict[int, int] = {}
    in_threads(_CONNECTIONS, _asker(service, heads, counts), time.monotonic() + seconds)
    shown = ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))
    return shown or "nothing was answered"


def _asker(
    service: Service, heads: Sequence[tuple[str, str]], counts: dict[int, int]
) -> Callable[[float], None]:
    def ask(end: float) -> None:
        coming = cycle(heads)
        while time.monotonic() < end:
            with suppress(OSError, AssertionError), service.connect(_ADDRESS) as client:
                while time.monotonic() < end:
                    client.head(*next(coming))
                    status = client.answer().status
                    counts[status] = counts.get(status, 0) + 1

    return ask
