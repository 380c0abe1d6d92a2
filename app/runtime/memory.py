"""The heap: what a crowd leaves behind goes back to the system.

Connections are in reference cycles with their protocols, and lie among what stays. Python looks for cycles
seldom once there is much to look at, and the C library keeps whatever is not at the end of its heap; so ten
thousand connections would be paid for long after they have gone.
"""

import asyncio
import ctypes
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.runtime import tasks

PERIOD = 10.0
"""Seconds between looks."""


@asynccontextmanager
async def kept_trimmed() -> AsyncIterator[None]:
    """Around the life of a process that is ready: what is there stays, what comes later is looked after."""
    freeze_startup_heap()
    keeping = asyncio.create_task(trim_periodically(), name="heap")
    try:
        yield
    finally:
        await tasks.cancel_and_wait([keeping])


def freeze_startup_heap() -> None:
    """Look through what is there once and never again: the modules, the routes, the parts."""
    gc.collect()
    gc.freeze()


async def trim_periodically() -> None:
    """Give back what is free, time and again, for ever."""
    trim: Callable[[int], Any] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    while True:
        await asyncio.sleep(PERIOD)
        gc.collect()
        if trim is not None:
            trim(0)
