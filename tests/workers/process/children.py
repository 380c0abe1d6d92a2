"""Real worker processes for tests, which exchange frames with them; every wait has a deadline."""

import contextlib
import os
import select
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

from tests.service import children, until
from workers.messages import Done, Failed, FrameBuffer, Message, Ready, Task
from workers.parser import parse

DEADLINE_S = 20.0


class Worker:
    """A running worker process: `python -m workers`, or another program that behaves like one."""

    def __init__(self, *program: str, **environment: str) -> None:
        command = [sys.executable, *(program or ("-m", "workers")), str(os.getpid())]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment}
        )
        self._buffer = FrameBuffer()
        self._heard: deque[Message] = deque()
        try:
            ready = self.receive()
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
        """The process id of the warm worker process."""
        return self.process.pid

    def send(self, message: Message | bytes) -> None:
        """Send one message, or bytes that are no message."""
        assert self.process.stdin
        self.process.stdin.write(message if isinstance(message, bytes) else message.to_frame())
        self.process.stdin.flush()

    def receive(self) -> Message:
        """The next message of the process; fails at the deadline, and when the process has ended."""
        assert self.process.stdout
        while not self._heard:
            readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
            assert readable, "the worker says nothing"
            data = os.read(self.process.stdout.fileno(), 65_536)
            assert data, "the worker has ended"
            self._heard.extend(parse(payload) for payload in self._buffer.feed(data))
        return self._heard.popleft()

    def is_silent(self, seconds: float) -> bool:
        """Whether the process sends nothing for so long."""
        assert self.process.stdout
        return not self._heard and not select.select([self.process.stdout], [], [], seconds)[0]

    def start(self, job: Task) -> int:
        """Send a task; the process id of its fork, once there is one."""
        self.send(job)
        (fork,) = until(lambda: children(self.pid), "a process for the task")
        assert isinstance(fork, int)
        return fork

    def run(self, job: Task) -> Done | Failed:
        """Send a task and wait for its outcome."""
        self.send(job)
        outcome = self.receive()
        assert isinstance(outcome, Done | Failed)
        assert outcome.id == job.id
        return outcome

    def exit_status(self) -> int:
        """Wait for the process to end by itself."""
        return self.process.wait(timeout=DEADLINE_S)


def make_task(folder: Path, data: bytes | None, *variants: str, name: str = "job-1", **limits: Any) -> Task:
    """A task in `folder` for an upload of `data`; None makes the upload a pipe that nobody writes to."""
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
    """Whether a process, given by a descriptor of `os.pidfd_open`, ends before the deadline."""
    readable, _, _ = select.select([process], [], [], DEADLINE_S)
    os.close(process)
    return bool(readable)
