"""How much memory processes have, and giving it back to the operating system after a peak of connections.

Connections lie in memory between objects that stay, and malloc keeps whatever is not at the end of its heap.
So a process would keep the memory of ten thousand connections long after they have gone. And Python looks for
reference cycles seldom once there are many objects; a connection that has gone is in none, but others may be.

To look through everything holds up the event loop, for 14 us with each open connection. So what has outlived
one look is left out of the later ones (it is *frozen*). Everything is looked through only when memory has
grown by more than open connections account for, and the process is quiet, or when it has grown a lot; and
only if there are more objects than after the last time. What was freed already needs no look.
"""

import asyncio
import ctypes
import gc
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.runtime import tasks

TRIM_PERIOD_S = 10.0
"""Seconds between two collections of garbage."""
_QUIET_SHARE = 0.1
"""The share of a processor below which the process counts as quiet."""
_MAX_GROWTH_QUIET = 4 << 20
"""Bytes by which memory may grow before everything is looked through in a quiet moment."""
_MAX_GROWTH = 64 << 20
"""Bytes by which it may grow, or by half if that is more, before that is done whatever goes on."""
_MAX_NEW_OBJECTS = 2000
"""Objects that may have outlived a collection since all were looked through; a cycle has some dozens."""
_BYTES_PER_CONNECTION = 32 << 10
"""What an open connection accounts for: about as much as one with an event stream takes."""
_THRESHOLDS = 700, 10, 5
"""Python's own full collections come after as many new objects as the product of these: some 10 ms of work.

The defaults are twice as many in Python 3.11, and three times that in later ones.
"""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def kept_trimmed() -> AsyncIterator[None]:
    """Keep the memory of this process small while the block lasts; it begins when the process is ready."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    gc.callbacks.append(_freeze_after_full)
    gc.collect()
    trimming = tasks.supervise(trim_periodically, name="memory trimming")
    try:
        yield
    finally:
        gc.callbacks.remove(_freeze_after_full)
        gc.set_threshold(*thresholds)
        await tasks.cancel_and_wait([trimming])


def _freeze_after_full(phase: str, info: dict[str, int]) -> None:
    """Exempt all that a full collection leaves from later ones.

    After the first one these are modules, routes and parts of the service.
    """
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()


def _beside_connections() -> float:
    """Bytes of this process's memory without those of open connections; NaN where that is unknown."""
    try:
        open_files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return math.nan
    return resident_bytes([os.getpid()]) - _BYTES_PER_CONNECTION * open_files


async def trim_periodically(
    memory_bytes: Callable[[], float] = _beside_connections,
    cpu_clock: Callable[[], float] = time.process_time,
) -> None:
    """Collect garbage and return free memory to the operating system every `TRIM_PERIOD_S`, for ever.

    `memory_bytes` gives the memory of this process that may be garbage, `cpu_clock` its seconds of CPU.
    """
    trim: Callable[[int], Any] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    least, frozen, cpu_s = memory_bytes(), gc.get_freeze_count(), cpu_clock()
    while True:
        await asyncio.sleep(TRIM_PERIOD_S)
        before_s, cpu_s = cpu_s, cpu_clock()
        is_quiet = cpu_s - before_s < _QUIET_SHARE * TRIM_PERIOD_S
        allowed = _MAX_GROWTH_QUIET if is_quiet else max(_MAX_GROWTH, least / 2)
        gc.collect()
        if trim is not None:
            trim(0)
        memory = memory_bytes()
        if memory <= least + allowed:
            least = min(least, memory)
            continue
        if gc.get_freeze_count() > frozen + _MAX_NEW_OBJECTS:
            gc.unfreeze()
            gc.collect()
            frozen = gc.get_freeze_count()
            if trim is not None:
                trim(0)
        least = memory_bytes()


def resident_bytes(pids: list[int]) -> int:
    """Resident memory of some processes in bytes.

    Pages that they share count once: those of the first process count in full, of the others only what is not
    shared. A process that has ended counts nothing.
    """
    total = 0
    for pid in pids:
        try:
            _, resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[:3])
        except OSError:
            continue
        total += resident if total == 0 else resident - shared
    return total * _PAGE_BYTES
