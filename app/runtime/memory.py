"""How much memory processes have, and giving it back to the operating system after a peak of connections.

Connections and their protocols are in reference cycles, and lie in memory between objects that stay. Python
looks for cycles seldom once there are many objects, and malloc keeps whatever is not at the end of its heap.
So a process would keep the memory of ten thousand connections long after they have gone.

To look through everything holds up the event loop, for 14 us with each open connection. So that is done here
alone, and the seldomer the longer it takes; Python itself looks only through what is new.
"""

import asyncio
import ctypes
import gc
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.runtime import tasks

TRIM_PERIOD_S = 10.0
"""Seconds between two collections of garbage, at least."""
_MAX_SHARE = 0.01
"""The share of the time that collections may take at most."""
_NEVER = 1_000_000_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def kept_trimmed() -> AsyncIterator[None]:
    """Keep the memory of this process small while the block lasts; it begins when the process is ready."""
    freeze_startup_heap()
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    trimming = tasks.supervise(trim_periodically, name="memory trimming")
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        await tasks.cancel_and_wait([trimming])


def freeze_startup_heap() -> None:
    """Collect garbage, then exempt all present objects from later collections.

    These are modules, routes and parts of the service, which stay as long as the process does; to look
    through them each time would cost tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


async def trim_periodically(clock: Callable[[], float] = time.perf_counter) -> None:
    """Collect garbage and return free memory to the operating system, for ever; `clock` gives seconds.

    That is every `TRIM_PERIOD_S`, and less often where a collection takes long.
    """
    trim: Callable[[int], Any] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    pause_s = TRIM_PERIOD_S
    while True:
        await asyncio.sleep(pause_s)
        began = clock()
        gc.collect()
        if trim is not None:
            trim(0)
        pause_s = max(TRIM_PERIOD_S, (clock() - began) / _MAX_SHARE)


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
