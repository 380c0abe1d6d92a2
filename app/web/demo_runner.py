"""Runs one act of the stampede at a time against this very server, in a process of its own."""

import asyncio
import json
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import structlog

from app.engine.worker_process import spawn
from app.server.problems import ProblemError
from app.web.unbounded_twin import UnboundedTwin

log = structlog.get_logger(__name__)

ARRIVALS_S: Final = 12.0
"""Seconds in which the clients of an act arrive."""
_ACT_TIMEOUT_S: Final = 90.0
"""Seconds after which an act is stopped, whatever is still under way; accepted jobs go on without it."""
_WITH_TWIN: Final = "crowd"
"""The act beside which a service whose queue has no bound gets the same uploads, and dies of them."""
_TERMINATION_TIMEOUT_S: Final = 5.0
"""Seconds that the process has after SIGTERM to print its figures, before SIGKILL."""


class ActRunning(ProblemError):
    """Raised when another act still runs; `retry_after` is the longest that it may last, in seconds."""

    slug = "act-running"

    def __init__(self, act: str, retry_after: float) -> None:
        super().__init__(f"The act {act!r} is still being played.", retry_after=retry_after)


class DemoRunner:
    """Starts and stops acts, and remembers the figures of the last one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.act: str | None = None
        """The act that runs."""
        self._deadline = 0.0
        self._stop_requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last: dict[str, Any] | None = None
        self._twin = UnboundedTwin()

    def start(self, act: str, url: str) -> None:
        """Start an act against the server at `url`.

        Raises:
            ActRunning: another has not ended.
        """
        if self.act is not None:
            raise ActRunning(self.act, max(1.0, self._deadline - self._clock()))
        self.act = act
        self._deadline = self._clock() + _ACT_TIMEOUT_S
        self._stop_requested = asyncio.Event()
        self._task = asyncio.create_task(self._run(act, url), name=f"act {act}")

    async def stop(self) -> None:
        """Stop the act, if one runs, and return when its process is gone."""
        self._stop_requested.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    @asynccontextmanager
    async def stopped_at_exit(self) -> AsyncIterator[None]:
        """A context at whose end the act is stopped."""
        try:
            yield
        finally:
            await self.stop()

    async def _run(self, act: str, url: str) -> None:
        command = ["app.cli", "stampede", url, "--act", act, "--seconds", f"{ARRIVALS_S:g}", "--json"]
        try:
            async with AsyncExitStack() as stack:
                if act == _WITH_TWIN:
                    other = await stack.enter_async_context(self._twin.running())
                    command += [] if other is None else ["--beside", other]
                process = await spawn(*command, stdin=DEVNULL, stderr=DEVNULL)
                self._last = {"act": act, **_summary(await self._output(process))}
        except OSError as error:
            log.error("an act could not be run", act=act, reason=str(error))
        except Exception:
            log.exception("an act ended unexpectedly", act=act)
        finally:
            self.act = None

    async def _output(self, process: Process) -> bytes:
        """All that the process prints until it ends by itself or is stopped; it is gone afterwards."""
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        reading = asyncio.create_task(process.stdout.read())
        stopping = asyncio.create_task(self._stop_requested.wait())
        try:
            seconds_left = self._deadline - self._clock()
            await asyncio.wait([reading, stopping], timeout=seconds_left, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                with suppress(ProcessLookupError):
                    process.terminate()
                await asyncio.wait([reading], timeout=_TERMINATION_TIMEOUT_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            stopping.cancel()
        return await reading

    def snapshot(self) -> dict[str, Any]:
        """The act that runs, the seconds that it may last yet, and a summary of the one before."""
        seconds_left = None if self.act is None else max(0, round(self._deadline - self._clock()))
        return {
            "act": self.act,
            "left_s": seconds_left,
            "last": self._last,
            "unbounded": self._twin.snapshot(),
        }


def _summary(output: bytes) -> dict[str, Any]:
    """The figures of an act's report that the page shows; none when the output is no such report."""
    try:
        report = json.loads(output)
        act = report["acts"][0]
        return {
            "people": act["people"],
            "sent": act["sent"],
            "answers": act["answers"],
            "kept": act["kept"],
            "promised": act["promised"],
            "whole": report["kept_everything"],
            "interrupted": report["interrupted"],
        }
    except (ValueError, LookupError, TypeError):
        return {}
