"""Decisions per second of the rate limiter, and memory per client, when a million clients ask.

    python -m bench.limiter [--rounds 3] [--clients 1000000] [--json FILE]

Time is CPU time of this process, minus that of an empty loop. Where many clients ask, the clock is simulated
and advances with each reading, so that the table is as full on a slow machine as on a fast one. Memory is
measured in a new process for each table, with all clients asking at the same moment: the growth of the
resident set and, in another process, what tracemalloc counts. Both include the keys (addresses such as
10.1.2.3).
"""

import functools
import gc
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.token_bucket import GCRA, Clock, RateLimited, TokenBucket
from app.settings import Settings
from bench.rig import Report, median, options, resident

_RATE, _BURST = Settings.model_fields["rate"].default, Settings.model_fields["burst"].default
_MAX_CLIENTS = Settings.model_fields["max_clients"].default
_HOT_DECISIONS = 300_000
"""Decisions of a round about one client."""


def addresses(count: int) -> Iterator[str]:
    """`count` different addresses."""
    for number in range(count):
        yield f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class SteppingClock:
    """A clock that advances by `step` nanoseconds each time it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self._now = 0.0
        self.step = step

    def __call__(self) -> int:
        self._now += self.step
        return int(self._now)


def _limiter(max_clients: int, clock: Clock, rate: float = _RATE, burst: int = _BURST) -> RateLimiter:
    return RateLimiter(GCRA.token_bucket(rate, burst), max_clients, clock=clock)


# --- time -----------------------------------------------------------------------------------------------


def _ns_each(decide: Callable[[str], object], clients: Sequence[str]) -> float:
    """CPU nanoseconds of one decision, each client asking once."""
    gc.collect()
    began = time.process_time_ns()
    for client in clients:
        with suppress(RateLimited):
            decide(client)
    return (time.process_time_ns() - began) / len(clients)


def _plain_ns_each(decide: Callable[[], object], times: int) -> float:
    began = time.process_time_ns()
    for _ in range(times):
        decide()
    return (time.process_time_ns() - began) / times


def decisions(clients: Sequence[str]) -> dict[str, tuple[float, int | None]]:
    """One round: CPU nanoseconds of each kind of decision, and how many clients the table then has."""
    loop = _ns_each(lambda _: None, clients)
    hot = ["192.0.2.7"] * _HOT_DECISIONS
    found: dict[str, tuple[float, int | None]] = {}

    def measure(kind: str, limiter: RateLimiter, asking: Sequence[str]) -> None:
        each = _ns_each(limiter.acquire, asking) - loop
        found[kind] = each, limiter.snapshot().clients

    roomy = _limiter(len(clients), SteppingClock())
    measure(f"new clients, room for {len(clients):,}", roomy, clients)
    measure("the same clients once more", roomy, clients)
    del roomy
    measure(
        f"new clients, room for {_MAX_CLIENTS:,}: the rest share one bucket",
        _limiter(_MAX_CLIENTS, SteppingClock()),
        clients,
    )
    # A bucket is full again 1/rate seconds after one token was spent, so the table stays nine tenths full.
    clock = SteppingClock(1e9 / (_RATE * _MAX_CLIENTS * 0.9))
    measure(f"new clients replace forgotten ones, {_MAX_CLIENTS:,}", _limiter(_MAX_CLIENTS, clock), clients)

    generous = _limiter(_MAX_CLIENTS, time.monotonic_ns, 100_000, 1_000_000)
    measure("one hot client, granted", generous, hot)
    strict = _limiter(_MAX_CLIENTS, time.monotonic_ns, 0.001, 1)
    strict.acquire(hot[0])
    measure("one hot client, refused", strict, hot)
    found["its quota read, no token spent"] = _ns_each(strict.peek, hot) - loop, None
    bucket = TokenBucket(100_000, 1_000_000)
    idle = _plain_ns_each(lambda: None, _HOT_DECISIONS)
    found["a bucket alone, TokenBucket.allow"] = (
        _plain_ns_each(lambda: bucket.allow(), _HOT_DECISIONS) - idle,
        None,
    )
    return found


# --- memory ---------------------------------------------------------------------------------------------


def _fill(count: int, max_clients: int) -> RateLimiter:
    limiter = _limiter(max_clients, SteppingClock())
    for client in addresses(count):
        with suppress(RateLimited):
            limiter.acquire(client)
    return limiter


def resident_growth(count: int, max_clients: int) -> tuple[int, int]:
    """Bytes by which this process grows when `count` clients ask, and the clients in the table."""
    _fill(1000, 1000)
    gc.collect()
    before = resident(os.getpid())
    limiter = _fill(count, max_clients)
    return resident(os.getpid()) - before, limiter.snapshot().clients


def traced_growth(count: int, max_clients: int) -> tuple[int, int]:
    """Bytes that Python's allocator holds for the table when `count` clients ask, and the clients in it."""
    tracemalloc.start()
    limiter = _fill(count, max_clients)
    held = tracemalloc.get_traced_memory()[0]
    return held, limiter.snapshot().clients


def main() -> None:
    """Measure some rounds and report their medians."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--clients", type=int, default=1_000_000, help="that ask (%(default)s)")
    chosen = parser.parse_args()
    clients = list(addresses(chosen.clients))
    rounds = [decisions(clients) for _ in range(chosen.rounds)]
    report = Report("bench.limiter")
    for kind, (_, kept) in rounds[0].items():
        each = median([one[kind][0] for one in rounds])
        report.add(decision=kind, ns=each, per_s=round(1e9 / each), clients_in_table=kept)
    del clients
    alone = functools.partial(ProcessPoolExecutor, 1, get_context("spawn"), max_tasks_per_child=1)
    for max_clients in (_MAX_CLIENTS, chosen.clients):
        with alone() as pool:
            grown, kept = pool.submit(resident_growth, chosen.clients, max_clients).result()
            traced, _ = pool.submit(traced_growth, chosen.clients, max_clients).result()
        report.notes.append(
            f"Memory, {chosen.clients:,} clients asked, table of {max_clients:,}: {kept:,} kept, resident "
            f"set +{grown / 2**20:.1f} MiB ({grown / kept:.0f} bytes a client), tracemalloc "
            f"{traced / 2**20:.1f} MiB ({traced / kept:.0f} bytes a client)."
        )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
