"""Python modules run as processes of their own, and the exchange of frames with one over its pipes."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Self

import structlog

from app.runtime import logs
from workers.frames import LENGTH_BYTES, ProtocolError, payload_length
from workers.messages import Ready
from workers.parser import parse

_READY_TIMEOUT_S = 30.0
_PRIVATE_PREFIXES = ("SPILLWAY_", "AWS_")
"""Environment variables with the service's settings and with the keys to its bucket."""
_DECODERS_OF_PHOTOS = ("workers", "workers.trial_photo")
_MALLOC_TUNABLES = ":".join(
    f"glibc.malloc.{tunable}"
    for tunable in ("hugetlb=1", f"mmap_threshold={32 * 1024**2}", f"trim_threshold={1024**3}")
)
"""For glibc's malloc in the processes that decode photos.

Each job has fresh memory, whose page faults cost the kernel more than all else of a job. With huge pages
(madvise(2), MADV_HUGEPAGE) there are few, and fewer still where large buffers are taken from the heap, too,
and that is not trimmed. The first needs glibc 2.35. Small pictures need none of it.
"""
_CODE_FOLDER = Path(__file__).resolve().parents[2]
"""Holds the packages `app` and `workers` that this process runs."""


_RELAYED_BYTES = 8192
_MAX_RELAYED_BYTES = 256 * 1024
"""Bytes of each process's standard error that are copied into the log."""
_relays: set[asyncio.Task[None]] = set()

log = structlog.get_logger(__name__)


class WorkerProcessFailed(Exception):
    """Raised when a process has ended, or has sent what it never should."""


def environment(module: str) -> dict[str, str]:
    """The environment of a process that runs `module`: ours, but for settings and keys to a store.

    What a child process does not know it cannot disclose, should an image take it over. Where the packages
    are not installed, PYTHONPATH names their folder, so that children find them from any folder.
    Unless the operator has set GLIBC_TUNABLES, it is what suits photos where these are decoded.
    PYTHONMALLOC is for the server alone: photos take a twentieth longer without Python's own allocator.
    """
    told = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE_PREFIXES)}
    told.pop("PYTHONMALLOC", None)
    if module in _DECODERS_OF_PHOTOS:
        told.setdefault("GLIBC_TUNABLES", _MALLOC_TUNABLES)
    if _CODE_FOLDER.name not in ("site-packages", "dist-packages"):
        told["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_CODE_FOLDER), told.get("PYTHONPATH")]))
    return told


async def spawn(module: str, *arguments: str, stdin: int | None = None, stderr: int | None = None) -> Process:
    """Run `python -P -m module arguments…` with its standard output as a pipe; the caller ends it.

    `-P` keeps the current folder out of the search for modules: a `random.py` there is not ours. The process
    gets the `environment` of its module. `stdin` and `stderr` are as for `subprocess.Popen`: by default
    both are shared with this process. It is in a session of its own, because Ctrl+C in a terminal is for the
    server alone, which then stops its children in order.

    Raises:
        OSError: the process cannot be started.
    """
    is_relayed = stderr is None and logs.are_json()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *arguments),
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE if is_relayed else stderr,
        env=environment(module),
        start_new_session=True,
    )
    if process.stderr is not None and is_relayed:
        relay = asyncio.create_task(_relay(process.stderr, module), name=f"standard error of {module}")
        _relays.add(relay)
        relay.add_done_callback(_relays.discard)
    return process


async def _relay(stderr: asyncio.StreamReader, module: str) -> None:
    """Log what a process writes to its standard error, so that in a log of JSON those lines are JSON too.

    After `_MAX_RELAYED_BYTES` no more is read, so that a process cannot fill the disk; it then blocks.
    """
    left = _MAX_RELAYED_BYTES
    while left > 0 and (piece := await stderr.read(min(_RELAYED_BYTES, left))):
        left -= len(piece)
        for line in piece.decode(errors="replace").splitlines():
            log.warning("a child process wrote to standard error", module=module, line=line)


class WorkerProcess:
    """A child process that exchanges frames with this one over its standard input and output.

    `start` makes one; whoever holds it calls `end`.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self.sandbox: dict[str, str] = {}
        """What is in force of each layer of its sandbox, by its own word."""

    @classmethod
    async def start(cls, module: str) -> Self:
        """Run `python -P -m module PID`, with the id of this process, and wait for its message `Ready`.

        Raises:
            OSError: the process cannot be started.
            WorkerProcessFailed: it ended, or its first message is another one.
            TimeoutError: it was not ready within half a minute.
        """
        child = cls(await spawn(module, str(os.getpid()), stdin=PIPE))
        try:
            await child._read_ready()
        except BaseException:
            await child.end()
            raise
        return child

    async def _read_ready(self) -> None:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            payload = await self.read()
        try:
            ready = parse(payload)
        except ProtocolError as error:
            raise WorkerProcessFailed(f"the process sent an invalid message: {error}") from None
        if not isinstance(ready, Ready):
            raise WorkerProcessFailed("the first message of the process was not that it is ready")
        self.sandbox = ready.sandbox

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs, as far as this one has been told."""
        return self._process.returncode is None

    async def write(self, frame: bytes) -> None:
        """Send a frame, and wait until the pipe has taken enough of it.

        Raises:
            WorkerProcessFailed: the process has ended.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was started with one
        try:
            self._process.stdin.write(frame)
            await self._process.stdin.drain()
        except (OSError, RuntimeError):  # uvloop raises the latter for a closed pipe
            raise WorkerProcessFailed("the process has ended") from None

    def post(self, frame: bytes) -> None:
        """Send a frame without waiting. It is lost if the process has ended."""
        assert self._process.stdin is not None  # noqa: S101 - it was started with one
        with suppress(OSError, RuntimeError):
            self._process.stdin.write(frame)

    async def read(self) -> bytes:
        """The payload of the next frame that the process sends.

        Raises:
            WorkerProcessFailed: the process has ended, or the frame is longer than a frame may be.
        """
        assert self._process.stdout is not None  # noqa: S101 - it was started with one
        try:
            length = payload_length(await self._process.stdout.readexactly(LENGTH_BYTES))
            return await self._process.stdout.readexactly(length)
        except (EOFError, OSError):
            raise WorkerProcessFailed("the process has ended") from None
        except ProtocolError as error:
            raise WorkerProcessFailed(f"the process sent an invalid message: {error}") from None

    async def wait(self) -> int:
        """Wait until the process ends by itself; its exit status, negative for a signal."""
        return await self._process.wait()

    def kill(self) -> None:
        """Send SIGKILL, without waiting for the end."""
        with suppress(ProcessLookupError):
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def end(self) -> None:
        """Kill the process and return when it has ended."""
        self.kill()
        await self._process.wait()
