"""The warm child: takes one job at a time from its parent, has a fork do it, and outlives the fork."""

import os
import select
import time
from collections import deque
from collections.abc import Callable

from workers import frames
from workers.canary import sing
from workers.fork import Fork
from workers.messages import (
    Cancel,
    Done,
    Failed,
    FrameBuffer,
    Message,
    ProtocolError,
    Started,
    Task,
)
from workers.parser import parse
from workers.result_check import failed, impossible, silent, spoken

_CHUNK = 65_536


class Orphaned(Exception):
    """Raised when the parent has closed its end: there is nobody to work for."""


class Child:
    """Serves jobs read from descriptor `orders` and answers on `answers`, until the parent closes either.

    `start` forks the process of a job; `check` is called after one died for no good reason, and raises
    CanaryError when the fault is this process's own.
    """

    def __init__(
        self,
        orders: int,
        answers: int,
        start: Callable[[Task], Fork],
        check: Callable[[], None] = sing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._orders = orders
        self._answers = answers
        self._start = start
        self._check = check
        self._clock = clock
        self._buffer = FrameBuffer()
        self._pending: deque[Message] = deque()

    def serve(self) -> None:
        """Do jobs until the parent closes its end.

        Raises ProtocolError for a frame that no sane parent sends, CanaryError when the codecs of this
        very process no longer work.
        """
        try:
            while True:
                while not self._pending:
                    self._take()
                message = self._pending.popleft()
                if isinstance(message, Task):
                    self._do(message)
                # A Cancel between jobs came too late for its job, which has been answered.
        except Orphaned:
            return

    def send(self, message: Message) -> None:
        """Write one frame to the parent; raises Orphaned when nobody reads any more."""
        try:
            frames.send(self._answers, message.to_frame())
        except BrokenPipeError:
            raise Orphaned from None

    def _do(self, job: Task) -> None:
        fork = self._start(job)
        try:
            self.send(Started(job.id, fork.pid))
            verdict = self._watch(job, fork)
        except BaseException:
            fork.end()
            raise
        self.send(verdict)
        if isinstance(verdict, Failed) and verdict.reason == "worker-died":
            self._check()

    def _watch(self, job: Task, fork: Fork) -> Done | Failed:
        """Wait for the fork's word, the parent's, or the deadline, whichever comes first; reap the fork."""
        deadline = self._clock() + job.timeout_s
        poll = select.poll()
        poll.register(self._orders, select.POLLIN)
        poll.register(fork.results, select.POLLIN)
        while True:
            if self._is_cancelled(job):
                fork.end()
                return failed(job, "cancelled")
            left = deadline - self._clock()
            if left <= 0:
                fork.end()
                return failed(job, "too-slow")
            ready = {descriptor for descriptor, _ in poll.poll(left * 1000 + 1)}
            if fork.results in ready:
                verdict = _heard(job, fork)
                if verdict is not None:
                    return verdict
            if self._orders in ready:
                self._take()

    def _is_cancelled(self, job: Task) -> bool:
        while self._pending:
            message = self._pending.popleft()
            if not isinstance(message, Cancel):
                raise ProtocolError("a job was sent while another one runs")
            if message.id == job.id:
                return True
        return False

    def _take(self) -> None:
        data = os.read(self._orders, _CHUNK)
        if not data:
            raise Orphaned
        for payload in self._buffer.feed(data):
            message = parse(payload)
            if not isinstance(message, Task | Cancel):
                raise ProtocolError("a parent sends jobs and cancels, nothing else")
            self._pending.append(message)


def _heard(job: Task, fork: Fork) -> Done | Failed | None:
    """What the fork's words so far come to: a verdict, or nothing yet."""
    try:
        finished, message = fork.read()
    except ProtocolError:
        fork.end()
        return impossible(job)
    if message is not None:
        return spoken(job, message, fork.end())
    return silent(job, fork.end()) if finished else None
