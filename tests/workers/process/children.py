"""Real worker processes for the tests, spoken to in their frames; every wait has a deadline."""

import contextlib
import os
import select
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

from workers.messages import Done, Failed, FrameBuffer, Message, Ready, Started, Task
from workers.parser import parse

DEADLINE_S = 20.0


class Worker:
    """A running child: `python -m workers`, or another program that behaves as one."""

    def __init__(self, *program: str, **environment: str) -> None:
        command = [sys.executable, *(program or ("-m", "workers")), str(os.getpid())]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment}
        )
        self._buffer = FrameBuffer()
        self._heard: deque[Message] = deque()
        try:
            ready = self.hear()
            assert isinstance(ready, Ready)
        except BaseException:
            self.__exit__()
            raise
        self.ready = ready

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(timeout=DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            # What was said to a child that had ended is still in the pipe's buffer.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    @property
    def pid(self) -> int:
        """The warm child's process id."""
        return self.process.pid

    def say(self, message: Message | bytes) -> None:
        """Send one message, or bytes that are none."""
        assert self.process.stdin
        self.process.stdin.write(message if isinstance(message, bytes) else message.to_frame())
        self.process.stdin.flush()

    def hear(self) -> Message:
        """The next message of the child; fails past the deadline and at its end."""
        assert self.process.stdout
        while not self._heard:
            readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
            assert readable, "the worker says nothing"
            data = os.read(self.process.stdout.fileno(), 65_536)
            assert data, "the worker has ended"
            self._heard.extend(parse(payload) for payload in self._buffer.feed(data))
        return self._heard.popleft()

    def begin(self, job: Task) -> int:
        """Send a job; answers the process id of its fork."""
        self.say(job)
        started = self.hear()
        assert isinstance(started, Started)
        assert started.id == job.id
        return started.pid

    def do(self, job: Task) -> Done | Failed:
        """Send a job and wait for its end."""
        self.begin(job)
        verdict = self.hear()
        assert isinstance(verdict, Done | Failed)
        assert verdict.id == job.id
        return verdict

    def exit_status(self) -> int:
        """Wait for the child to end by itself."""
        return self.process.wait(timeout=DEADLINE_S)


def job(folder: Path, data: bytes | None, *variants: str, name: str = "job-1", **limits: Any) -> Task:
    """A job in `folder` for an upload of `data`, or for one that never arrives (a pipe nobody writes to)."""
    source, made = folder / "upload", folder / "made"
    source.unlink(missing_ok=True)
    made.mkdir(exist_ok=True)
    if data is None:
        os.mkfifo(source)
    else:
        source.write_bytes(data)
    settings = {"max_pixels": 10**8, "timeout_s": DEADLINE_S, "memory_bytes": 2**29, **limits}
    return Task(name, str(source), str(made), variants or ("it=32",), **settings)


def ends(process: int) -> bool:
    """Whether a process that was running when `os.pidfd_open` gave this descriptor ends in time."""
    readable, _, _ = select.select([process], [], [], DEADLINE_S)
    os.close(process)
    return bool(readable)
