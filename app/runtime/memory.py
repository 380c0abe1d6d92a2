"""How much memory processes have, and giving it back to the operating system after a peak of connections.

Connections and their protocols are in reference cycles, and lie in memory between objects that stay. Python
looks for cycles seldom once there are many objects, and malloc keeps whatever is not at the end of its heap.
So a process would keep the memory of ten thousand connections long after they have gone.
"""

import asyncio
import ctypes
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.runtime import tasks

TRIM_PERIOD_S = 10.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def kept_trimmed() -> AsyncIterator[None]:
    """Keep the memory of this process small while the block lasts; it begins when the process is ready."""
    freeze_startup_heap()
    trimming = tasks.supervise(trim_periodically, name="memory trimming")
    try:
        yield
    finally:
        await tasks.cancel_and_wait([trimming])


def freeze_startup_heap() -> None:
    """Collect garbage, then exempt all present objects from later collections.

    These are modules, routes and parts of the service, which stay as long as the process does; to look
    through them each time would cost tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


async def trim_periodically() -> None:
    """Collect garbage and return free memory to the operating system every `TRIM_PERIOD_S`, for ever."""
    trim: Callable[[int], Any] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    while True:
        await asyncio.sleep(TRIM_PERIOD_S)
        gc.collect()
        if trim is not None:
            trim(0)


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
