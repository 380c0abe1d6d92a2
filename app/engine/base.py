"""What every engine decides in this process alone: whether it is open, and who may be received."""

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

from app.backpressure.circuit_breaker import BreakerOpen, BreakerSnapshot, CircuitBreaker
from app.backpressure.reservation_table import Requester
from app.backpressure.upload_queue import ReceivingSlot, UploadQueue
from app.backpressure.waiting_room import QueueFull, WaitingRoom, Watch
from app.engine.interface import Draining, EngineState, Starting
from app.engine.job_handle import JobHandle
from app.engine.outage_log import OutageLog

B = TypeVar("B", bound=UploadQueue[JobHandle])

_START_RETRY_S = 2.0
"""Seconds after which an upload that came before the end of the start may come again."""
_LAST_ANSWERS_S = 1.0
"""Seconds before the end of a drain in which incomplete uploads are refused, so that clients are told."""


@dataclass(frozen=True, slots=True)
class CircuitBreakers:
    """The circuit breakers of the service: one around each dependency that can fail by itself.

    `workers` is around the start of worker processes, `store` around writes to the store, and `engine` around
    requests to an engine that runs elsewhere; it is None for an engine in this process.
    """

    workers: CircuitBreaker
    store: CircuitBreaker
    engine: CircuitBreaker | None = None

    def __post_init__(self) -> None:
        for breaker in self:
            breaker.on_state_change = OutageLog()

    def __iter__(self) -> Iterator[CircuitBreaker]:
        yield self.workers
        yield self.store
        if self.engine is not None:
            yield self.engine

    def snapshot(self) -> list[BreakerSnapshot]:
        """The state of each."""
        return [breaker.snapshot() for breaker in self]


@dataclass(frozen=True, slots=True)
class Closed:
    """Uploads are refused for `reopens_in` seconds; `refusal` makes the exception from its Retry-After."""

    reopens_in: float
    refusal: Callable[[float], Exception]


class BaseEngine(Generic[B]):
    """The upload queue, the waiting room and the state of an engine.

    An engine derives from this class and implements the rest of `app.engine.interface.Engine`, whose
    docstrings hold for the methods here as well. It sets `_state` to ready when it has started, calls
    `_begin_drain` when it is to drain, and gets receiving slots from `_admit`.
    """

    def __init__(
        self,
        upload_queue: B,
        waiting_room: WaitingRoom[JobHandle],
        breakers: CircuitBreakers,
        drain_timeout: float,
    ) -> None:
        """`drain_timeout`, in seconds, is how long uploads that come during a drain are told to wait."""
        self.upload_queue = upload_queue
        self._waiting_room = waiting_room
        self._breakers = breakers
        self._drain_timeout = drain_timeout
        self._state = EngineState.STARTING
        self._receives_until = math.inf

    def is_due(self, key: str) -> bool:
        return self._waiting_room.is_due(key)

    def waive_token(self, key: str) -> bool:
        return self._waiting_room.waive_token(key)

    def check_share(self, client: str, share: int | None = None) -> None:
        self.upload_queue.check_share(client, share)

    def check_open(self, requester: Requester, not_before: float) -> None:
        if (closed := self._closed()) is not None:
            raise closed.refusal(self._waiting_room.refuse(requester, closed.reopens_in, not_before))

    def refuse(self, requester: Requester, not_before: float) -> NoReturn:
        raise QueueFull(self._waiting_room.refuse(requester, 0, not_before), self.upload_queue.capacity)

    def check_receiving(self) -> None:
        if time.monotonic() >= self._receives_until:
            raise Draining(self._drain_timeout)

    @property
    def receiving_full(self) -> bool:
        return self.upload_queue.receiving_full

    async def _admit(self, requester: Requester, not_before: float, watch: Watch) -> ReceivingSlot[JobHandle]:
        """A receiving slot of the waiting room. A wait that ends because the engine has closed says so.

        Raises:
            QueueFull, ClientGone: as `WaitingRoom.admit`.
            Starting, Draining, BreakerOpen: the engine receives no uploads any more.
        """
        try:
            return await self._waiting_room.admit(requester, not_before, watch, self._reopens_in)
        except QueueFull as full:
            if (closed := self._closed()) is not None:
                raise closed.refusal(full.retry_after) from None
            raise

    def _closed(self) -> Closed | None:
        """Why no uploads are received; None while they are."""
        if self._state == EngineState.STARTING:
            return Closed(_START_RETRY_S, Starting)
        if self._state == EngineState.DRAINING:
            return Closed(self._drain_timeout, Draining)
        breaker = max(self._breakers, key=CircuitBreaker.remaining)
        if (remaining := breaker.remaining()) > 0:
            return Closed(remaining, functools.partial(BreakerOpen, breaker.name))
        return None

    def _reopens_in(self) -> float:
        """Seconds until uploads may be received again; 0 when they may be now."""
        closed = self._closed()
        return 0.0 if closed is None else closed.reopens_in

    def _begin_drain(self, timeout: float) -> None:
        """Refuse new uploads from now on, and incomplete ones shortly before `timeout` seconds are over."""
        self._state = EngineState.DRAINING
        self._receives_until = time.monotonic() + timeout - min(_LAST_ANSWERS_S, timeout / 2)
        self._waiting_room.close()
