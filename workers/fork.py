"""One job's process: forked from the warm child, confined, gone when the job is."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from resource import struct_rusage
from typing import NoReturn

from workers import canary, frames, process
from workers.failures import DETAILS, JobError
from workers.imaging import make
from workers.messages import Failed, FrameBuffer, Message, Ready, Task
from workers.parser import parse
from workers.sandbox import Sandbox

_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Death:
    """How a fork ended: `signal` is 0 when it exited by itself; times in seconds, sizes in bytes."""

    signal: int
    cpu_s: float
    peak_bytes: int


@dataclass(slots=True)
class Fork:
    """A running fork, seen from the warm child: its process id and the reading end of its one pipe."""

    pid: int
    results: int
    _buffer: FrameBuffer = field(default_factory=FrameBuffer)
    _death: Death | None = None

    def read(self) -> tuple[bool, Message | None]:
        """Take what the fork has said: whether it has finished speaking, and its one message once whole.

        Raises ProtocolError for anything that is not a message.
        """
        finished, payload = self.hear()
        return finished, None if payload is None else parse(payload)

    def hear(self) -> tuple[bool, bytes | None]:
        """The same, with the payload of its one frame as it came; raises ProtocolError for no frame."""
        data = os.read(self.results, _CHUNK)
        if not data:
            return True, None
        for payload in self._buffer.feed(data):
            return True, payload
        return False, None

    def message(self) -> Message | None:
        """Wait for its one message, however long it takes, and reap it; None when it said nothing."""
        finished, message = False, None
        try:
            while not finished:
                finished, message = self.read()
        finally:
            self.end()
        return message

    def end(self) -> Death:
        """Kill the fork, if it still runs, and reap it; again and again is once."""
        if self._death is None:
            os.close(self.results)
            # It has not been reaped, so its number is still its own.
            os.kill(self.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.pid, 0)
            self._death = _death(status, usage)
        return self._death


def starter(sandbox: Sandbox, layers: dict[str, str]) -> Callable[[Task], Fork]:
    """A function that forks a process for a job, confined by the very `layers` of the rehearsal."""

    def start(job: Task) -> Fork:
        def work() -> Message:
            if sandbox.confine(job) != layers:
                raise JobError("worker-died", "The process for the image could not be confined.")
            return make(job)

        return forked(work, job.id)

    return start


def rehearse(job: Task, sandbox: Sandbox) -> Fork:
    """Fork a process that confines itself as for `job` and tries its codecs; it answers Ready."""

    def work() -> Message:
        layers = sandbox.confine(job)
        canary.sing()
        return Ready(os.getpid(), layers)

    return forked(work, job.id)


def forked(work: Callable[[], Message], job_id: str) -> Fork:
    """Fork a process that sends what `work` answers as its only message, or why it failed, and exits."""
    return branched(lambda: _answer(work, job_id).to_frame())


def branched(speak: Callable[[], bytes]) -> Fork:
    """Fork a process that writes the frame that `speak` answers, and exits; without one when it raises."""
    warm = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _serve(speak, writing, warm)
    os.close(writing)
    return Fork(pid, reading)


def _serve(speak: Callable[[], bytes], writing: int, warm: int) -> NoReturn:
    """What the fork does; never returns, for the warm child's code must not run twice."""
    try:
        process.die_with(warm)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        process.close_all_but(0, 1, 2, writing)
        frames.send(writing, speak())
    finally:
        os._exit(0)


def _answer(work: Callable[[], Message], job_id: str) -> Message:
    try:
        return work()
    except JobError as error:
        return Failed(job_id, error.reason, error.detail)
    except MemoryError:
        return Failed(job_id, "too-much-memory", DETAILS["too-much-memory"])
    except Exception as unforeseen:
        return Failed(
            job_id, "worker-died", f"The work on the image broke off ({type(unforeseen).__name__})."
        )


def _death(status: int, usage: struct_rusage) -> Death:
    return Death(
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )
