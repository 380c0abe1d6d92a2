"""Logs when an outage begins and when it is over, once each, by the states of a circuit breaker."""

import time
from collections.abc import Callable

import structlog

from app.backpressure.circuit_breaker import BreakerState, StateChange

log = structlog.get_logger(__name__)

_WORDS = {
    "workers": ("workers do not start", "workers start again"),
    "store": ("the store does not work", "the store works again"),
    "engine": ("the engine is away", "the engine is back"),
    "webhook": ("webhooks are not delivered", "webhooks are delivered again"),
}
"""By the name of the breaker: what the log says of the begin and of the end."""


class OutageLog:
    """The `on_state_change` of one breaker. Probes that fail are part of the same outage."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self._clock = clock
        self._began_at: float | None = None

    def __call__(self, change: StateChange) -> None:
        """Log a change if an outage begins or ends with it."""
        begin, end = _WORDS.get(change.name, (f"{change.name} fails", f"{change.name} works again"))
        if change.after is BreakerState.OPEN and self._began_at is None:
            self._began_at = self._clock()
            log.error(f"{begin}: circuit breaker opened", breaker=change.name, reason=change.reason)
        elif change.after is BreakerState.CLOSED and self._began_at is not None:
            seconds = round(self._clock() - self._began_at, 1)
            self._began_at = None
            log.info(f"{end}: circuit breaker closed", breaker=change.name, after_s=seconds)
