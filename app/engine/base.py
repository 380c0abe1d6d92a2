"""The front of an engine: what the gate asks of this very process, whichever engine is behind it."""

import math
import time
from typing import Generic, NoReturn, TypeVar

from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreakers
from app.backpressure.reservations import Requester
from app.backpressure.upload_queue import UploadQueue
from app.backpressure.waiting_room import QueueFull, WaitingRoom
from app.engine.interface import Draining
from app.engine.job_handle import JobHandle

B = TypeVar("B", bound=UploadQueue[JobHandle])

_LAST_ANSWERS = 1.0
"""Seconds before the end of a drain in which uploads that are not whole yet are told so."""


class BaseEngine(Generic[B]):
    """The backlog, the door to it, and whether it is open: not in a drain, nor while a breaker is."""

    def __init__(
        self,
        upload_queue: B,
        waiting_room: WaitingRoom[JobHandle],
        breakers: CircuitBreakers,
        drain_timeout: float,
    ) -> None:
        """`drain_timeout`, in seconds, is what those who come during a drain are told to wait at least."""
        self.upload_queue = upload_queue
        self._waiting_room = waiting_room
        self._breakers = breakers
        self._drain_timeout = drain_timeout
        self._state = "starting"
        self._receives_until = math.inf

    def is_due(self, key: str) -> bool:
        return self._waiting_room.is_due(key)

    def waive_token(self, key: str) -> bool:
        return self._waiting_room.waive_token(key)

    def check_share(self, client: str) -> None:
        self.upload_queue.check_share(client)

    def check_open(self, requester: Requester, not_before: float) -> None:
        if self._state == "draining":
            raise Draining(self._waiting_room.refuse(requester, self._drain_timeout, not_before))
        for breaker in self._breakers:
            if (remaining := breaker.remaining()) > 0:
                raise BreakerOpen(breaker.name, self._waiting_room.refuse(requester, remaining, not_before))

    def refuse(self, requester: Requester, not_before: float) -> NoReturn:
        raise QueueFull(self._waiting_room.refuse(requester, 0, not_before), self.upload_queue.capacity)

    def _reopens_in(self) -> float:
        if self._state == "draining":
            return self._drain_timeout
        return max(breaker.remaining() for breaker in self._breakers)

    def check_receiving(self) -> None:
        if time.monotonic() >= self._receives_until:
            raise Draining(self._drain_timeout)

    @property
    def receiving_full(self) -> bool:
        return self.upload_queue.receiving_full

    def _begin_drain(self, timeout: float) -> None:
        """A drain begins, of so many seconds."""
        self._state = "draining"
        self._receives_until = time.monotonic() + timeout - min(_LAST_ANSWERS, timeout / 2)
        self._waiting_room.close()
