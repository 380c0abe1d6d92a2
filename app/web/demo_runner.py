"""An act of the stampede, played by a process of its own against this very server."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import structlog

from app.server.problems import ProblemError

log = structlog.get_logger(__name__)

PLAYS_S: Final = 12.0
"""Seconds in which the clients of an act arrive."""
_LIMIT_S: Final = 90.0
"""Seconds after which an act is over, whatever is still under way; accepted jobs go on without it."""
_GRACE_S: Final = 5.0
_COMMAND: Final = (sys.executable, "-c", "from app.cli import main; main()", "stampede")


class ActRunning(ProblemError):
    """Raised when an act is still being played."""

    slug = "act-running"

    def __init__(self, act: str, retry_after: float) -> None:
        super().__init__(f"The act {act!r} is still being played.", retry_after=retry_after)


class DemoRunner:
    """Plays one act at a time, for a bounded time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._act: str | None = None
        self._ends = 0.0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last: dict[str, Any] | None = None

    def play(self, act: str, url: str) -> None:
        """Begin an act against the server at `url`.

        Raises:
            ActRunning: another has not ended.
        """
        if self._act is not None:
            raise ActRunning(self._act, max(1.0, self._ends - self._clock()))
        self._act = act
        self._ends = self._clock() + _LIMIT_S
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._play(act, url), name=f"act {act}")

    async def stop(self) -> None:
        """End the act, if there is one, and return when its process is gone."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    @asynccontextmanager
    async def ended(self) -> AsyncIterator[None]:
        """See to it that nothing is played after the block."""
        try:
            yield
        finally:
            await self.stop()

    async def _play(self, act: str, url: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *(*_COMMAND, url, "--act", act, "--seconds", f"{PLAYS_S:g}", "--json"),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=DEVNULL,
                env={name: value for name, value in os.environ.items() if not name.startswith("SPILLWAY_")},
                start_new_session=True,  # Ctrl+C in a terminal is the server's to handle
            )
            self._last = {"act": act, **_figures(await self._watch(process))}
        except OSError as error:
            log.error("an act could not be played", act=act, reason=str(error))
        finally:
            self._act = None

    async def _watch(self, process: Process) -> bytes:
        """What the process says in the end: its own, told to by SIGTERM, or that of SIGKILL."""
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        saying = asyncio.create_task(process.stdout.read())
        ending = asyncio.create_task(self._stopping.wait())
        try:
            left = self._ends - self._clock()
            await asyncio.wait([saying, ending], timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not saying.done():
                with suppress(ProcessLookupError):
                    process.terminate()
                await asyncio.wait([saying], timeout=_GRACE_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            ending.cancel()
        return await saying

    def snapshot(self) -> dict[str, Any]:
        """The act being played, the seconds that it may last yet, and what came of the one before."""
        left = None if self._act is None else max(0, round(self._ends - self._clock()))
        return {"act": self._act, "left_s": left, "last": self._last}


def _figures(said: bytes) -> dict[str, Any]:
    """Of an act's closing table what fits into a sentence; nothing when it could not tell."""
    try:
        table = json.loads(said)
        act = table["acts"][0]
        return {
            "sent": act["sent"],
            "answers": act["answers"],
            "kept": act["kept"],
            "promised": act["promised"],
            "whole": table["kept_everything"],
            "interrupted": table["interrupted"],
        }
    except (ValueError, LookupError, TypeError):
        return {}
