"""A process for one piece of work: forked from a warm process, and gone when its answer has been read."""

import ctypes
import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from resource import struct_rusage
from typing import NoReturn

from workers import frames, process
from workers.failures import DETAILS, JobError
from workers.messages import Failed, FrameBuffer, Message
from workers.parser import parse

NO_PROCESS_ERRNOS = frozenset((errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE))
"""Errors of fork(2) and pipe(2) that say that the machine, or the user, has too much of something now."""
_READ_BYTES = 65_536

_python = ctypes.PyDLL(None, use_errno=True)
"""The C library, called without releasing the interpreter's lock, which the fork would have to take again."""


@dataclass(frozen=True, slots=True)
class ForkExit:
    """How a fork ended: the `signal` that ended it, 0 if it exited by itself, and what it consumed."""

    signal: int
    cpu_s: float
    peak_bytes: int


@dataclass(slots=True)
class Fork:
    """A running fork as its parent sees it: its process id, and the end of its pipe to read from."""

    pid: int
    results: int
    _buffer: FrameBuffer = field(default_factory=FrameBuffer)
    _exit: ForkExit | None = None

    def read_message(self) -> tuple[bool, Message | None]:
        """Read from the pipe once.

        Returns whether the fork has finished writing, and its message if that is complete. Raises
        ProtocolError for anything that is not a message.
        """
        finished, payload = self.read_payload()
        return finished, None if payload is None else parse(payload)

    def read_payload(self) -> tuple[bool, bytes | None]:
        """Read from the pipe once.

        Returns whether the fork has finished writing, and the payload of its frame if that is complete. A
        fork writes one frame; whatever follows is ignored. Raises ProtocolError for what is no frame.
        """
        data = os.read(self.results, _READ_BYTES)
        if not data:
            return True, None
        for payload in self._buffer.feed(data):
            return True, payload
        return False, None

    def wait_for_message(self) -> Message | None:
        """Wait for the fork's message, without a deadline, and end the fork; None if it wrote nothing."""
        finished, message = False, None
        try:
            while not finished:
                finished, message = self.read_message()
        finally:
            self.kill()
        return message

    def kill(self) -> ForkExit:
        """Kill the fork if it still runs, and reap it. Further calls only return how it ended."""
        if self._exit is None:
            os.close(self.results)
            # It has not been reaped, so no other process can have its number.
            os.kill(self.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.pid, 0)
            self._exit = _fork_exit(status, usage)
        return self._exit


def start_fork(work: Callable[[], Message], task_id: str) -> Fork:
    """Start a process that sends the result of `work`, or Failed when that raises, and exits."""
    return start_writing_fork(lambda: _run_work(work, task_id).to_frame())


def start_writing_fork(make_frame: Callable[[], bytes]) -> Fork:
    """Start a process that writes the frame of `make_frame` (none, if that raises), and exits.

    Raises OSError if there can be no process, or no pipe to it; with an `errno` of `NO_PROCESS_ERRNOS` for
    reasons that pass.
    """
    parent = os.getpid()
    reading_end, writing_end = os.pipe()
    try:
        pid = _fork()
    except OSError:
        os.close(reading_end)
        os.close(writing_end)
        raise
    if pid == 0:
        _run_fork(make_frame, writing_end, parent)
    os.close(writing_end)
    return Fork(pid, reading_end)


def _fork() -> int:
    """fork(2), without what modules have registered to be done after it (`os.register_at_fork`).

    `logging`, `random` and `threading` renew locks and seeds then, on copies of some seventy memory pages. A
    process with one thread, as all that fork here are, holds no such lock, and no two forks exist at a time.
    """
    pid: int = _python.fork()
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return pid


def _run_fork(make_frame: Callable[[], bytes], writing_end: int, parent: int) -> NoReturn:
    """All that happens in the forked process; it never returns into the code that its parent runs."""
    try:
        process.die_with_parent(parent)
        process.restore_sigterm()
        null = os.open(os.devnull, os.O_RDWR)
        for standard_stream in (0, 1, 2):
            os.dup2(null, standard_stream)
        process.close_other_descriptors(0, 1, 2, writing_end)
        frames.write_frame(writing_end, make_frame())
    finally:
        os._exit(0)


def _run_work(work: Callable[[], Message], task_id: str) -> Message:
    try:
        return work()
    except JobError as error:
        return Failed(task_id, error.reason, error.detail)
    except MemoryError:
        return Failed(task_id, "too-much-memory", DETAILS["too-much-memory"])
    except Exception as unforeseen:
        return Failed(
            task_id, "worker-died", f"The work on the image broke off ({type(unforeseen).__name__})."
        )


def _fork_exit(status: int, usage: struct_rusage) -> ForkExit:
    return ForkExit(
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )
