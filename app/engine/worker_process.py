"""A child: a Python module run as a process of its own, with which frames are exchanged over its pipes."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Self

from workers.frames import LENGTH_BYTES, ProtocolError, payload_length
from workers.messages import Ready
from workers.parser import parse

_READY_WITHIN = 30.0
_OURS = ("SPILLWAY_", "AWS_")


class WorkerProcessFailed(Exception):
    """Raised when a child is gone, or spoke what it never should."""


def environment() -> dict[str, str]:
    """What a child is told of this process's environment: no setting, and no key to a store."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


class WorkerProcess:
    """One that has said that it is ready; whoever has it ends it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.sandbox: dict[str, str] = {}
        """Which layers of its sandbox are in force."""

    @classmethod
    async def start(cls, module: str) -> Self:
        """Run `python -m module PID`, with this process's id, and wait until it is ready.

        Raises:
            OSError: it cannot be started.
            ChildFailed: it ended, or began with anything else.
            TimeoutError: it said nothing for half a minute.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            str(os.getpid()),
            stdin=PIPE,
            stdout=PIPE,
            env=environment(),
            start_new_session=True,  # Ctrl+C in a terminal is the server's to handle
        )
        child = cls(process)
        try:
            await child._greet()
        except BaseException:
            await child.end()
            raise
        return child

    async def _greet(self) -> None:
        async with asyncio.timeout(_READY_WITHIN):
            payload = await self.read()
        try:
            ready = parse(payload)
        except ProtocolError as error:
            raise WorkerProcessFailed(f"the child spoke nonsense: {error}") from None
        if not isinstance(ready, Ready):
            raise WorkerProcessFailed("the child did not begin with ready")
        self.sandbox = ready.sandbox

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether, as far as is known, it still runs."""
        return self._process.returncode is None

    async def write(self, frame: bytes) -> None:
        """Have it get a frame. Raises ChildFailed."""
        assert self._process.stdin is not None  # noqa: S101 - it was started with one
        try:
            self._process.stdin.write(frame)
            await self._process.stdin.drain()
        except (OSError, RuntimeError):  # the last is uvloop's word for a closed pipe
            raise WorkerProcessFailed("the child is gone") from None

    def post(self, frame: bytes) -> None:
        """The same without waiting, and in vain when it is gone."""
        assert self._process.stdin is not None  # noqa: S101 - it was started with one
        with suppress(OSError, RuntimeError):
            self._process.stdin.write(frame)

    async def read(self) -> bytes:
        """The payload of its next frame. Raises ChildFailed."""
        assert self._process.stdout is not None  # noqa: S101 - it was started with one
        try:
            length = payload_length(await self._process.stdout.readexactly(LENGTH_BYTES))
            return await self._process.stdout.readexactly(length)
        except (EOFError, OSError):
            raise WorkerProcessFailed("the child is gone") from None
        except ProtocolError as error:
            raise WorkerProcessFailed(f"the child spoke nonsense: {error}") from None

    async def wait(self) -> int:
        """Its exit status, once it has ended by itself."""
        return await self._process.wait()

    def kill(self) -> None:
        """Have it end at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def end(self) -> None:
        """The same; returns when it has ended."""
        self.kill()
        await self._process.wait()
