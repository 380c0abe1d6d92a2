"""The end of tasks that go on until they are told to stop."""

import asyncio
from collections.abc import Collection
from typing import Any

_AGAIN = 0.5
"""Seconds after which a task that goes on all the same is told anew."""


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel them and return when all have ended; how they did is of no account.

    Once may not be enough: before Python 3.12 `asyncio.wait_for`, with which the engine's client waits,
    forgot a cancellation that met the answer (https://github.com/python/cpython/issues/86296).
    """
    every = list(tasks)
    left = set(every)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN)
    await asyncio.gather(*every, return_exceptions=True)
