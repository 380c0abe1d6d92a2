"""The warm worker process: it takes one task at a time from its parent and has a fork carry it out.

A fork that dies, hangs or lies costs its own task and leaves this process as it was.
"""

import os
import select
import time
from collections import deque
from collections.abc import Callable

from workers import frames
from workers.canary import check_codecs as check_all_codecs
from workers.failures import JobError
from workers.fork import NO_PROCESS_ERRNOS, Fork
from workers.messages import (
    Cancel,
    Done,
    Failed,
    FrameBuffer,
    Message,
    ProtocolError,
    Task,
)
from workers.parser import parse
from workers.result_check import check_message, explain_silence, failure, impossible_answer

_READ_BYTES = 65_536
_FORK_PATIENCE_S = 2.0
"""Seconds for which a task waits for a process. The parent allows five more than the timeout of the task."""
_FORK_PAUSE_S = 0.05
"""Seconds between two attempts to start one."""


class ParentGone(Exception):
    """Raised when the parent has closed its end of a pipe: there is nobody to work for."""


class Child:
    """Carries out tasks read from the descriptor `requests` and answers on `responses`.

    `start_fork` starts the process of a task; it raises JobError, or OSError if there can be none.
    `check_codecs` is called after one died for no good reason; it raises CanaryError if the fault lies with
    this process itself.
    """

    def __init__(
        self,
        requests: int,
        responses: int,
        start_fork: Callable[[Task], Fork],
        check_codecs: Callable[[], None] = check_all_codecs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = requests
        self._responses = responses
        self._start_fork = start_fork
        self._check_codecs = check_codecs
        self._clock = clock
        self._buffer = FrameBuffer()
        self._pending: deque[Message] = deque()

    def serve(self) -> None:
        """Carry out tasks until the parent closes a pipe.

        Raises:
            ProtocolError: the parent sent what no correct parent sends.
            CanaryError: the codecs of this very process no longer work.
        """
        try:
            while True:
                while not self._pending:
                    self._read_messages()
                message = self._pending.popleft()
                if isinstance(message, Task):
                    self._run(message)
                # A Cancel between tasks came too late for its task, which has been answered.
        except ParentGone:
            return

    def send(self, message: Message) -> None:
        """Write one frame to the parent; raises ParentGone when nobody reads any more."""
        try:
            frames.write_frame(self._responses, message.to_frame())
        except BrokenPipeError:
            raise ParentGone from None

    def _run(self, task: Task) -> None:
        fork = self._start(task)
        if isinstance(fork, Failed):
            self.send(fork)
            return
        try:
            outcome = self._wait_for_outcome(task, fork)
        except BaseException:
            fork.kill()
            raise
        self.send(outcome)
        if isinstance(outcome, Failed) and outcome.reason == "worker-died":
            self._check_codecs()

    def _start(self, task: Task) -> Fork | Failed:
        """Start the process of a task, or tell why there is none.

        The kernel may have no room for a process now (fork(2): EAGAIN, ENOMEM), for which nobody here is to
        blame. So that is tried again for a while, and then left to the parent.
        """
        deadline = self._clock() + _FORK_PATIENCE_S
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        while True:
            try:
                return self._start_fork(task)
            except JobError as error:
                return failure(task, error.reason, error.detail)
            except OSError as error:
                if error.errno not in NO_PROCESS_ERRNOS:
                    raise
                if self._clock() >= deadline:
                    return failure(task, "no-process", f"No process can be started: {error.strerror}.")
            if poll.poll(_FORK_PAUSE_S * 1000):
                self._read_messages()
            if self._is_cancelled(task):
                return failure(task, "cancelled")

    def _wait_for_outcome(self, task: Task, fork: Fork) -> Done | Failed:
        """Wait for the fork's message, a Cancel or the deadline; whichever comes first ends the fork."""
        deadline = self._clock() + task.timeout_s
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        poll.register(fork.results, select.POLLIN)
        while True:
            if self._is_cancelled(task):
                fork.kill()
                return failure(task, "cancelled")
            seconds_left = deadline - self._clock()
            if seconds_left <= 0:
                fork.kill()
                return failure(task, "too-slow")
            ready = {descriptor for descriptor, _ in poll.poll(seconds_left * 1000 + 1)}
            if fork.results in ready:
                outcome = _read_outcome(task, fork)
                if outcome is not None:
                    return outcome
            if self._requests in ready:
                self._read_messages()

    def _is_cancelled(self, task: Task) -> bool:
        while self._pending:
            message = self._pending.popleft()
            if not isinstance(message, Cancel):
                raise ProtocolError("a task was sent while another one runs")
            if message.id == task.id:
                return True
        return False

    def _read_messages(self) -> None:
        data = os.read(self._requests, _READ_BYTES)
        if not data:
            raise ParentGone
        for payload in self._buffer.feed(data):
            message = parse(payload)
            if not isinstance(message, Task | Cancel):
                raise ProtocolError("a parent sends tasks and cancellations, nothing else")
            self._pending.append(message)


def _read_outcome(task: Task, fork: Fork) -> Done | Failed | None:
    """Read what the fork has written: the outcome of its task, or None if its message is not complete yet."""
    try:
        finished, message = fork.read_message()
    except ProtocolError:
        fork.kill()
        return impossible_answer(task)
    if message is not None:
        return check_message(task, message, fork.kill())
    return explain_silence(task, fork.kill()) if finished else None
