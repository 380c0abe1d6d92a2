"""The circuit breaker: stops asking a part that fails, and finds out with few probes when it works again."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class BreakerOpen(Exception):
    """Raised when the part behind a breaker is not asked because it failed lately."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(f"the {name} is not asked for another {retry_after:.1f} s")
        self.name = name
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one call, to be handed back with its outcome; worth nothing in a later generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """The state of a breaker; `opened` counts how often it has opened."""

    name: str
    state: str
    failures: int
    opened: int
    remaining_s: float


class CircuitBreaker:
    """Closed, it lets every call through; after some failures in a row it is open, and lets none.

    When its time is over it is half open: exactly `probes` calls pass. If all succeed it closes; one failure,
    or probes without an outcome for as long as a call may take, and it is open for twice as long as before,
    up to a bound. Each change of state begins a new generation, and an outcome counts only in
    the generation whose pass it brings: a call that was slow to fail cannot open what has recovered since.

    A third outcome is *excluded*: the call ended in a way that says nothing of the part (a corrupt image, a
    client that left). It neither adds to a row of failures nor breaks it, and frees a probe's place.

    It counts failures in a row, not their share of a window: what stands behind works or does not, a row
    needs no least volume, and while every second call still succeeds, to refuse them all would be worse.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        probes: int = 1,
        open_s: float = 1.0,
        longest_s: float = 60.0,
        call_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens after so many `failures` in a row, first for `open_s` seconds; calls end in `call_s`."""
        if failures < 1 or probes < 1 or not 0 < open_s <= longest_s or call_s <= 0:
            raise ValueError("a breaker needs a failure, a probe and some time")
        self.name = name
        self._most_failures = failures
        self._probes = probes
        self._open_s = open_s
        self._longest_s = longest_s
        self._call_s = call_s
        self._clock = clock
        self._state = CLOSED
        self._generation = 0
        self._until = 0.0
        """When the state ends by itself: the open time, or the time in which probes must end."""
        self._failures = 0
        self._in_row = 0
        """How often it opened since it was last closed."""
        self._opened = 0
        self._passed = 0
        self._succeeded = 0

    def remaining(self) -> float:
        """Seconds for which no call passes; 0 when one would now. Takes no probe's place."""
        now = self._now()
        if self._state == CLOSED or (self._state == HALF_OPEN and self._passed < self._probes):
            return 0.0
        rest = self._until - now
        return rest if self._state == OPEN else min(rest, self._open_s)

    def check(self) -> None:
        """Raises BreakerOpen where `enter()` would."""
        remaining = self.remaining()
        if remaining > 0:
            raise BreakerOpen(self.name, remaining)

    def acquire(self) -> Permit:
        """Leave for one call, which must end in one of the three outcomes.

        Raises:
            BreakerOpen: no call passes now.
        """
        self.check()
        if self._state == HALF_OPEN:
            self._passed += 1
            self._until = self._clock() + self._call_s
        return Permit(self._generation)

    def record_success(self, leave: Permit) -> None:
        """The call did what it should."""
        if not self._counts(leave):
            return
        self._failures = 0
        if self._state == HALF_OPEN:
            self._succeeded += 1
            if self._succeeded == self._probes:
                self._in_row = 0
                self._set_state(CLOSED, 0.0)

    def record_failure(self, leave: Permit) -> None:
        """The call failed, and the part is to blame."""
        if not self._counts(leave):
            return
        self._failures += 1
        if self._state == HALF_OPEN or self._failures >= self._most_failures:
            self._trip(self._clock())

    def ignore(self, leave: Permit) -> None:
        """The call ended in a way that says nothing of the part."""
        if self._counts(leave) and self._state == HALF_OPEN:
            self._passed -= 1

    @contextmanager
    def guard(self, *failures: type[Exception], excluded: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Around one call: these exceptions are failures, any other end by exception is excluded.

        `excluded` names exceptions that are no failures though they are of a type that is.

        Raises:
            BreakerOpen: no call passes now.
        """
        leave = self.acquire()
        try:
            yield
        except BaseException as error:
            if isinstance(error, failures) and not isinstance(error, excluded):
                self.record_failure(leave)
            else:
                self.ignore(leave)
            raise
        self.record_success(leave)

    def snapshot(self) -> BreakerSnapshot:
        """The state now."""
        remaining = self.remaining()
        return BreakerSnapshot(self.name, self._state, self._failures, self._opened, round(remaining, 3))

    def _counts(self, leave: Permit) -> bool:
        self._now()
        return leave.generation == self._generation

    def _now(self) -> float:
        """Let time pass. Gives the time."""
        now = self._clock()
        if self._state == HALF_OPEN and self._passed and now >= self._until:
            self._trip(self._until)
        if self._state == OPEN and now >= self._until:
            self._set_state(HALF_OPEN, math.inf)
        return now

    def _trip(self, now: float) -> None:
        pause = min(self._longest_s, self._open_s * 2.0 ** min(self._in_row, 60))
        self._in_row += 1
        self._opened += 1
        self._set_state(OPEN, now + pause)

    def _set_state(self, state: str, until: float) -> None:
        self._generation += 1
        self._state = state
        self._until = until
        self._failures = self._passed = self._succeeded = 0


@dataclass(frozen=True, slots=True)
class CircuitBreakers:
    """The breakers of the service: around the start of workers, around what is written to the store, and
    around what is asked of an engine that is not this very process."""

    workers: CircuitBreaker
    store: CircuitBreaker
    engine: CircuitBreaker | None = None

    def __iter__(self) -> Iterator[CircuitBreaker]:
        there = (self.workers, self.store, self.engine)
        return (breaker for breaker in there if breaker is not None)

    def snapshot(self) -> list[BreakerSnapshot]:
        """The state of each."""
        return [breaker.snapshot() for breaker in self]
