"""Background tasks: started again when they fail, and ended for certain."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)

RESTART_PAUSE_S = 1.0
"""Seconds before a background task that failed is started again."""
_CANCEL_AGAIN_S = 0.5
"""Seconds after which a task that has not ended is cancelled once more."""


def supervise(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
    """Start a background task that outlives its own failures.

    `work` is called for a coroutine that usually runs until it is cancelled. If it raises, the exception is
    logged with `name` and `work` is called again after `RESTART_PAUSE_S`. If it returns, the task ends.
    The caller keeps the returned task and cancels it, best by `cancel_and_wait`.
    """

    async def run() -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("background task failed", task=name, restart_in_s=RESTART_PAUSE_S)
                await asyncio.sleep(RESTART_PAUSE_S)
            else:
                return

    return asyncio.create_task(run(), name=name)


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return when all have ended. Results and exceptions are dropped.

    Each is cancelled again until it ends, because before Python 3.12 `asyncio.wait_for`, which the NATS
    client uses, could swallow a cancellation that arrived together with the awaited result
    (https://github.com/python/cpython/issues/86296).
    """
    every = list(tasks)
    left = set(every)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*every, return_exceptions=True)
