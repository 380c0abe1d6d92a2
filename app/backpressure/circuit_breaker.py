"""The circuit breaker: stops calling a dependency that fails, and probes carefully whether it works again."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

_MAX_DOUBLINGS = 60
"""Bounds the exponent of the backoff, so that it cannot overflow a float."""


class BreakerState(StrEnum):
    """Closed lets every call through, open lets none, half-open lets a few probes through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerOpen(Exception):
    """Raised instead of a call while the breaker is open; `retry_after` is in seconds."""

    def __init__(self, name: str, retry_after: float) -> None:
        # Not how long the breaker is open: a client may have to come back later than it closes.
        super().__init__(f"a part of the service is failing ({name}); ask again in {retry_after:.1f} s")
        self.name = name
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class StateChange:
    """A breaker went from one state to another; `reason` is the failure that opened it, else empty."""

    name: str
    before: BreakerState
    after: BreakerState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Permit:
    """The permission for one call, to be handed back with its outcome. Only its own generation counts it."""

    generation: int


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """The state of a breaker.

    `failures` is the current run of failures, `opened` how often it has opened, and `remaining_s` the seconds
    for which no call passes.
    """

    name: str
    state: BreakerState
    failures: int
    opened: int
    remaining_s: float


class CircuitBreaker:
    """Opens after `failure_threshold` failures in a row and closes after `probes` successful probes.

    * Closed: every call passes.
    * Open: no call passes for `open_s` seconds; then it becomes half-open.
    * Half-open: exactly `probes` calls pass. When all have succeeded it closes. When one fails, or has no
      outcome after `call_timeout_s`, it opens for twice as long as the last time, at most `max_open_s`.

    Each change of state begins a new *generation*. An outcome counts only in the generation in which its call
    began, so a call that was slow to fail cannot open a breaker that has closed since.

    Besides success and failure there is a third outcome, *ignored*: the call ended in a way that says nothing
    about the dependency, for instance because the input was corrupt or the client left. It neither extends
    nor ends a run of failures, and in the half-open state another call may take its place as a probe.

    Failures in a row are counted, not their share in a window of time: that needs no minimum volume, and
    while every second call still succeeds it would be worse to refuse all of them.

    Most callers want `guard()`. Those that learn the outcome elsewhere use `acquire()` and hand the permit to
    `record_success()`, `record_failure()` or `ignore()`.
    """

    def __init__(
        self,
        name: str,
        *,
        failure_threshold: int = 5,
        probes: int = 1,
        open_s: float = 1.0,
        max_open_s: float = 60.0,
        call_timeout_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError for a breaker that could never open or never close."""
        if failure_threshold < 1 or probes < 1:
            raise ValueError("a breaker needs a failure threshold and a number of probes of 1 or more")
        if not 0 < open_s <= max_open_s or call_timeout_s <= 0:
            raise ValueError("a breaker needs times above 0, and max_open_s must not be less than open_s")
        self.name = name
        self.on_state_change: Callable[[StateChange], None] = lambda _: None
        """Called after each change of state. It must not call the breaker."""
        self._failure_threshold = failure_threshold
        self._probes = probes
        self._open_s = open_s
        self._max_open_s = max_open_s
        self._call_timeout_s = call_timeout_s
        self._clock = clock
        self._state = BreakerState.CLOSED
        self._generation = 0
        self._ends_at = math.inf
        """When the state ends by itself: the open time is over, or the probes under way have timed out."""
        self._opened_in_row = 0
        """How often it opened since it was last closed."""
        self._opened = 0
        # Counted anew in each generation:
        self._failures = 0
        self._probes_started = 0
        self._probes_succeeded = 0

    def remaining(self) -> float:
        """Seconds for which no call passes; 0 when one would pass now. Does not count as a call."""
        now = self._advance()
        match self._state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.OPEN:
                return self._ends_at - now
            case BreakerState.HALF_OPEN:
                if self._probes_started < self._probes:
                    return 0.0
                # It may close much sooner than the probes time out, so nobody is sent away for that long.
                return min(self._ends_at - now, self._open_s)

    def check(self) -> None:
        """Raises BreakerOpen when `acquire()` would. Does not count as a call."""
        remaining = self.remaining()
        if remaining > 0:
            raise BreakerOpen(self.name, remaining)

    def acquire(self) -> Permit:
        """The permit for one call, which has to be handed back with one of the three outcomes.

        Raises:
            BreakerOpen: no call passes now.
        """
        self.check()
        if self._state is BreakerState.HALF_OPEN:
            self._probes_started += 1
            self._ends_at = self._clock() + self._call_timeout_s
        return Permit(self._generation)

    def record_success(self, permit: Permit) -> None:
        """The call succeeded."""
        if not self._counts(permit):
            return
        match self._state:
            case BreakerState.CLOSED:
                self._failures = 0
            case BreakerState.HALF_OPEN:
                self._probes_succeeded += 1
                if self._probes_succeeded == self._probes:
                    self._opened_in_row = 0
                    self._set_state(BreakerState.CLOSED, math.inf)

    def record_failure(self, permit: Permit, reason: str = "") -> None:
        """The call failed, and the dependency is to blame; `reason` is for `on_state_change`."""
        if not self._counts(permit):
            return
        match self._state:
            case BreakerState.CLOSED:
                self._failures += 1
                if self._failures >= self._failure_threshold:
                    self._open(self._clock(), reason)
            case BreakerState.HALF_OPEN:
                self._open(self._clock(), reason)

    def ignore(self, permit: Permit) -> None:
        """The call ended in a way that says nothing about the dependency."""
        if self._counts(permit) and self._state is BreakerState.HALF_OPEN:
            self._probes_started -= 1

    @contextmanager
    def guard(self, *failures: type[Exception], ignored: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Around one call: exceptions of these types are failures, all others are ignored.

        `ignored` names subclasses of `failures` that say nothing about the dependency, and are ignored too.

        Raises:
            BreakerOpen: no call passes now; the body is not entered.
        """
        permit = self.acquire()
        try:
            yield
        except BaseException as error:
            if isinstance(error, failures) and not isinstance(error, ignored):
                self.record_failure(permit, str(error) or type(error).__name__)
            else:
                self.ignore(permit)
            raise
        self.record_success(permit)

    def snapshot(self) -> BreakerSnapshot:
        """The state now."""
        remaining_s = round(self.remaining(), 3)
        return BreakerSnapshot(self.name, self._state, self._failures, self._opened, remaining_s)

    def _counts(self, permit: Permit) -> bool:
        """Whether the call began in the present generation; then the state is not open."""
        self._advance()
        return permit.generation == self._generation

    def _advance(self) -> float:
        """Make the changes of state that are due by now. Gives the time."""
        now = self._clock()
        probes_under_way = self._probes_started - self._probes_succeeded
        if self._state is BreakerState.HALF_OPEN and probes_under_way and now >= self._ends_at:
            self._open(self._ends_at, "no outcome in time")
        if self._state is BreakerState.OPEN and now >= self._ends_at:
            self._set_state(BreakerState.HALF_OPEN, math.inf)
        return now

    def _open(self, since: float, reason: str) -> None:
        doublings = min(self._opened_in_row, _MAX_DOUBLINGS)
        self._opened_in_row += 1
        self._opened += 1
        ends_at = since + min(self._max_open_s, self._open_s * 2.0**doublings)
        self._set_state(BreakerState.OPEN, ends_at, reason)

    def _set_state(self, state: BreakerState, ends_at: float, reason: str = "") -> None:
        self._generation += 1
        before, self._state = self._state, state
        self._ends_at = ends_at
        self._failures = self._probes_started = self._probes_succeeded = 0
        self.on_state_change(StateChange(self.name, before, state, reason))
