"""Runs the service with a queue without bound beside an act, and ends it when it has used its memory."""

import asyncio
import json
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import structlog

from app.engine.worker_process import spawn
from app.runtime import tasks
from app.runtime.memory import resident_bytes

log = structlog.get_logger(__name__)

MAX_BYTES: Final = 512 * 2**20
"""Resident memory at which it is killed, as the kernel kills a container at its limit."""
_START_TIMEOUT_S: Final = 20.0


class UnboundedTwin:
    """The process, its figures, and how it ended."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """It is killed when its resident memory passes `max_bytes`."""
        self._max_bytes = max_bytes
        self._figures: dict[str, Any] | None = None

    def snapshot(self) -> dict[str, Any] | None:
        """The figures of the last one, None before the first; `lost` uploads died with it."""
        return self._figures

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str | None]:
        """Run one for the length of the block, which gets its address; None when it does not start."""
        async with AsyncExitStack() as stack:
            url = None
            try:
                process = await spawn("app.web.unbounded", stdin=DEVNULL, stderr=DEVNULL)
                stack.push_async_callback(_end, process)
                url = await _address(process)
            except (OSError, ValueError, LookupError) as error:  # a TimeoutError is an OSError
                log.error("the service without a bound could not be run", reason=str(error))
            else:
                watching = asyncio.create_task(self._watch(process), name="unbounded service")
                stack.push_async_callback(tasks.cancel_and_wait, [watching])
            yield url

    async def _watch(self, process: Process) -> None:
        """Read its figures until it ends; kill it when it has used all of its memory."""
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        died = False
        while line := await process.stdout.readline():
            used = resident_bytes([process.pid])
            told = json.loads(line)
            died = used > self._max_bytes
            self._figures = {
                "accepted": told["accepted"],
                "done": told["done"],
                "waiting": told["accepted"] - told["done"],
                "held_bytes": told["held_bytes"],
                "memory_bytes": used,
                "max_bytes": self._max_bytes,
                "died": died,
                "lost": told["accepted"] - told["done"] if died else 0,
            }
            if died:
                await _end(process)


async def _address(process: Process) -> str:
    """The address that the process prints first. Raises OSError, ValueError, LookupError."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    line = await asyncio.wait_for(process.stdout.readline(), _START_TIMEOUT_S)
    return str(json.loads(line)["url"])


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
