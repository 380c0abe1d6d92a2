"""The simulated service: receiving slots, a queue, workers and clients, moved from event to event.

Time is a number that jumps to the next event. All random numbers are seeded and drawn for each client before
anything happens, so that every policy meets the same clients with the same photos.
"""

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from bench.simulator.crowds import Client, Crowd, Kind

_MIN_OBSERVED_S = 0.5
"""Seconds after which the speed of an upload is known."""
_MAX_SOON_SHARE = 0.5
"""An upload ends soon when it does within this share of the time in which a full queue drains."""
_MAX_SAMPLES = 512
_PRIOR_UPLOADS = 16
_PRIOR_JOBS = 8
"""How many uploads and jobs the durations count as that are assumed at first."""


class Policy(Protocol):
    """Answers each client that asks with `World.admit` or `World.refuse`, at once or later."""

    def ask(self, client: Client) -> None:
        """A client asks for a slot."""

    def slot_freed(self) -> None:
        """A job has left the queue, or an upload has turned out to be slow."""


class World:
    """What happens between clients, queue and workers under one policy."""

    def __init__(self, crowd: Crowd, capacity: int, workers: int, seed: int) -> None:
        self.crowd = crowd
        self.capacity = capacity
        self.max_receiving = 2 * capacity
        self.workers = workers
        self.now = 0.0
        self.receiving = 0
        """Receiving slots that are held."""
        self.expected_soon = 0
        """Uploads that will soon be in the queue, as far as is known."""
        self.job_s = crowd.job_s * crowd.guess
        """Mean duration of a job in seconds, as measured."""
        self.upload_s = 0.0
        """Mean duration of an upload in seconds, as measured."""
        source = random.Random(seed)  # noqa: S311 - a crowd, not a secret
        self.clients = crowd.clients(source, workers / crowd.job_s, capacity)
        self.policy: Policy
        self._queue: deque[Client] = deque()
        self._busy_workers = 0
        self._jobs_measured = _PRIOR_JOBS
        self._uploads_measured = _PRIOR_UPLOADS
        self._events: list[tuple[float, int, Callable[[Client], None], Client]] = []
        self._scheduled = 0

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    @property
    def jobs_per_s(self) -> float:
        """Jobs per second that leave the queue, as measured."""
        return self.workers / self.job_s

    @property
    def uploads_per_s(self) -> float:
        """Uploads per second that can be admitted: as many as drain, or fewer when uplinks are slow."""
        if not self.upload_s:
            return self.jobs_per_s
        return min(self.jobs_per_s, self.max_receiving / self.upload_s)

    def clock(self) -> float:
        """The simulated time, for the parts of the service that take a clock."""
        return self.now

    def at(self, when: float, happen: Callable[[Client], None], client: Client) -> None:
        """Schedule an event."""
        self._scheduled += 1
        heappush(self._events, (when, self._scheduled, happen, client))

    def run(self, policy: Policy) -> None:
        """Let everything happen, until no event is left."""
        self.policy = policy
        for client in self.clients:
            self.at(client.came, policy.ask, client)
        while self._events:
            self.now, _, happen, client = heappop(self._events)
            happen(client)

    # --- answers ---------------------------------------------------------------------------------------

    def refuse(self, client: Client, retry_after: float) -> None:
        """The client is told when to come back, and does what clients of its kind do."""
        if client.told is None:
            client.told = self.now + retry_after
        elif client.first_return_admitted is None:
            client.first_return_admitted = False
        if client.kind in (Kind.LEAVER, Kind.GHOST):
            return
        pause = 1.0 if client.kind is Kind.IMPATIENT else retry_after
        self.at(self.now + pause + client.delay_s, self.policy.ask, client)

    def admit(self, client: Client) -> None:
        """The client gets a receiving slot and starts to upload."""
        if client.told is not None and client.first_return_admitted is None:
            client.first_return_admitted = True
        client.admitted = self.now
        self.receiving += 1
        self.expected_soon += 1
        if client.kind is Kind.GHOST:
            self.at(self.now + client.upload_s, self._leave, client)
            return
        soon_s = _MAX_SOON_SHARE * self.capacity / self.jobs_per_s
        if client.upload_s > soon_s + _MIN_OBSERVED_S:
            self.at(self.now + _MIN_OBSERVED_S, self._is_slow, client)
            self.at(self.now + client.upload_s - soon_s, self._is_soon, client)
        self.at(self.now + client.upload_s, self._enqueue, client)

    # --- from an upload to a job that is done ----------------------------------------------------------

    def _is_slow(self, _: Client) -> None:
        self.expected_soon -= 1
        self.policy.slot_freed()

    def _is_soon(self, _: Client) -> None:
        self.expected_soon += 1

    def _leave(self, _: Client) -> None:
        self.receiving -= 1
        self.expected_soon -= 1
        self.policy.slot_freed()

    def _enqueue(self, client: Client) -> None:
        self.receiving -= 1
        self.expected_soon -= 1
        client.enqueued = self.now
        self._uploads_measured = min(self._uploads_measured + 1, _MAX_SAMPLES)
        self.upload_s += (client.upload_s - self.upload_s) / self._uploads_measured
        self._queue.append(client)
        self._start_jobs()

    def _start_jobs(self) -> None:
        while self._queue and self._busy_workers < self.workers:
            client = self._queue.popleft()
            self._busy_workers += 1
            client.started = self.now
            client.done = self.now + client.job_s * self.crowd.slowness(self.now)
            self.at(client.done, self._finish, client)
            self.policy.slot_freed()

    def _finish(self, client: Client) -> None:
        self._busy_workers -= 1
        self._jobs_measured += 1
        self.job_s += (client.done - client.started - self.job_s) / min(self._jobs_measured, _MAX_SAMPLES)
        self._start_jobs()
