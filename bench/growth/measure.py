"""How an operation's cost is measured while what it works on grows."""

import asyncio
import gc
import inspect
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

Operation = Callable[[], Any]
"""Is called many times. One that gives an awaitable is awaited; what it does at once counts as one hold."""

_MAX_CALLS = 300
_MAX_S = 0.5
_TICK_S = 0.005
"""Seconds between two looks at whether the event loop was held: what else it does meanwhile counts, too."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Something that grows: `build` makes it of a size, and gives what is done with it, by name."""

    name: str
    sizes: tuple[int, ...]
    build: Callable[[int], Mapping[str, Operation] | Awaitable[Mapping[str, Operation]]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operation costs: the median of its calls, and the longest time for which it held the loop.

    That time is of CPU, so that what else runs on the machine is not counted.
    """

    us: float
    held_ms: float


async def measure(growth: Growth, size: int) -> dict[str, Cost]:
    """The costs of all operations at one size."""
    built = growth.build(size)
    operations = await built if inspect.isawaitable(built) else built
    gc.collect()
    gc.disable()  # what collections cost is measured by itself
    try:
        return {name: await _cost(operation) for name, operation in operations.items()}
    finally:
        gc.enable()


async def _cost(operation: Operation) -> Cost:
    times: list[float] = []
    longest, end = 0.0, time.perf_counter() + _MAX_S
    while len(times) < _MAX_CALLS and time.perf_counter() < end:
        began, began_cpu, began_process = time.perf_counter(), time.thread_time(), time.process_time()
        result = operation()
        took, held = time.perf_counter() - began, time.thread_time() - began_cpu
        if inspect.isawaitable(result):
            held = await _longest_hold(result)
            took = time.process_time() - began_process  # with what it does in threads
        times.append(took)
        longest = max(longest, held)
    return Cost(1e6 * statistics.median(times), 1e3 * longest)


async def _longest_hold(work: Awaitable[Any]) -> float:
    """Wait for `work`; the longest time for which the event loop did nothing else meanwhile, in seconds."""
    task = asyncio.ensure_future(work)
    longest = 0.0
    while not task.done():
        began = time.thread_time()
        await asyncio.sleep(_TICK_S)
        longest = max(longest, time.thread_time() - began)
    await task
    return longest
