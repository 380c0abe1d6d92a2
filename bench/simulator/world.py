"""The world: a dock, a belt, workers and the clients before them, moved from event to event.

Time is a number that jumps. Chance is seeded and drawn for each client before anything happens, so that every
policy meets the same clients with the same photos.
"""

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from bench.simulator.crowds import IMPATIENT, LEAVER, Client, Crowd

_SEEN_S = 0.5
"""After so long the pace of an upload is known."""
_SOON = 0.5
"""An upload counts as soon there when it ends within this share of the time that a full queue takes."""
_SAMPLES = 512
_DOUBT = 16
_TRIAL = 8
"""Jobs that what is believed at first counts as."""


class Policy(Protocol):
    """Answers whoever asks, by `World.admit` or `World.refuse`, at once or later."""

    def ask(self, client: Client) -> None:
        """A client wants a place."""

    def place_freed(self) -> None:
        """A job has left the belt, or an upload turned out to be slow."""


class World:
    """What goes on between workers and clients under one policy."""

    def __init__(self, crowd: Crowd, capacity: int, workers: int, seed: int) -> None:
        self.crowd = crowd
        self.capacity = capacity
        self.dock = 2 * capacity
        self.workers = workers
        self.now = 0.0
        self.receiving = 0
        """Uploads in the dock."""
        self.landing = 0
        """Those of them that are soon on the belt, as far as can be told."""
        self.job_s = crowd.job_s * crowd.guess
        """Mean seconds of a job, as measured."""
        self.upload_s = 0.0
        """Mean seconds of an upload, as measured."""
        source = random.Random(seed)  # noqa: S311 - a crowd, not a secret
        self.clients = crowd.clients(source, workers / crowd.job_s, capacity)
        self.policy: Policy
        self._belt: deque[Client] = deque()
        self._busy = 0
        self._measured = _TRIAL
        self._landed = _DOUBT
        self._events: list[tuple[float, int, Callable[[Client], None], Client]] = []
        self._scheduled = 0

    @property
    def waiting(self) -> int:
        """Jobs on the belt."""
        return len(self._belt)

    @property
    def rate(self) -> float:
        """Jobs per second that leave the belt, as measured."""
        return self.workers / self.job_s

    @property
    def pace(self) -> float:
        """Uploads per second that can be let in: as many as drain, unless the dock lets fewer through."""
        return min(self.rate, self.dock / self.upload_s) if self.upload_s else self.rate

    def clock(self) -> float:
        """The time, for parts of the service."""
        return self.now

    def at(self, when: float, happen: Callable[[Client], None], client: Client) -> None:
        """Let something happen to a client later."""
        self._scheduled += 1
        heappush(self._events, (when, self._scheduled, happen, client))

    def run(self, policy: Policy) -> None:
        """Let everything happen, until nobody wants anything any more."""
        self.policy = policy
        for client in self.clients:
            self.at(client.came, policy.ask, client)
        while self._events:
            self.now, _, happen, client = heappop(self._events)
            happen(client)

    # --- answers ---------------------------------------------------------------------------------------

    def refuse(self, client: Client, seconds: float) -> None:
        """The client hears when to come back, and does as is its way."""
        if client.told is None:
            client.told = self.now + seconds
        elif client.kept is None:
            client.kept = False
        if client.kind == LEAVER:
            return
        pause = 1.0 if client.kind == IMPATIENT else seconds
        self.at(self.now + pause + client.delay_s, self.policy.ask, client)

    def admit(self, client: Client) -> None:
        """The client gets a place in the dock, and starts to upload."""
        if client.told is not None and client.kept is None:
            client.kept = True
        client.admitted = self.now
        self.receiving += 1
        self.landing += 1
        soon_s = _SOON * self.capacity / self.rate
        if client.upload_s > soon_s + _SEEN_S:
            self.at(self.now + _SEEN_S, self._is_slow, client)
            self.at(self.now + client.upload_s - soon_s, self._is_soon, client)
        self.at(self.now + client.upload_s, self._land, client)

    # --- the way of an upload --------------------------------------------------------------------------

    def _is_slow(self, _: Client) -> None:
        self.landing -= 1
        self.policy.place_freed()

    def _is_soon(self, _: Client) -> None:
        self.landing += 1

    def _land(self, client: Client) -> None:
        self.receiving -= 1
        self.landing -= 1
        client.landed = self.now
        self._landed = min(self._landed + 1, _SAMPLES)
        self.upload_s += (client.upload_s - self.upload_s) / self._landed
        self._belt.append(client)
        self._work()

    def _work(self) -> None:
        while self._belt and self._busy < self.workers:
            client = self._belt.popleft()
            self._busy += 1
            client.started = self.now
            client.done = self.now + client.job_s * self.crowd.slowness(self.now)
            self.at(client.done, self._finish, client)
            self.policy.place_freed()

    def _finish(self, client: Client) -> None:
        self._busy -= 1
        self._measured += 1
        self.job_s += (client.done - client.started - self.job_s) / min(self._measured, _SAMPLES)
        self._work()
