"""The levers of a demonstration: a few settings that can be changed for a while as the service runs."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.backpressure.token_bucket import GCRA
from app.server.problems import ProblemError
from app.settings import Settings

RESET_AFTER_S: Final = 300.0
"""Seconds after the last change in which all levers go back to the settings."""

_MAX_RATE: Final = 50.0
_MAX_BURST: Final = 100


class InvalidDemoSetting(ProblemError):
    """Raised when there is no such lever, or a value is outside its bounds."""

    slug = "bad-request"


Reconfigure = Callable[[GCRA, int, int], None]
"""Makes the service go on with another rate limit, queue capacity and number of active workers."""


@dataclass(frozen=True, slots=True)
class Lever:
    """A setting that a demonstration may change: its bounds, and the `preset` that it goes back to."""

    preset: float
    minimum: float
    maximum: float
    step: float


def levers_of(settings: Settings) -> dict[str, Lever]:
    """The levers that there are under these settings.

    The leaky bucket has no burst. The queue and the workers can only be reduced, for they are allocated
    once at start.
    """
    levers = {"rate": Lever(settings.rate, min(0.1, settings.rate), max(_MAX_RATE, settings.rate), 0.1)}
    if settings.limiter == "token_bucket":
        levers["burst"] = Lever(settings.burst, 1, max(_MAX_BURST, settings.burst), 1)
    levers["queue"] = Lever(settings.queue_size, 1, settings.queue_size, 1)
    levers["workers"] = Lever(settings.workers, 1, settings.workers, 1)
    return levers


class DemoSettings:
    """Holds the values of the levers, applies them, and resets them to the settings by itself."""

    def __init__(self, settings: Settings, reconfigure: Reconfigure) -> None:
        self.levers = levers_of(settings)
        self._settings = settings
        self._reconfigure = reconfigure
        self._values = {name: lever.preset for name, lever in self.levers.items()}
        self._reset_timer: asyncio.TimerHandle | None = None

    def set(self, wanted: Mapping[str, float]) -> None:
        """Change some levers, at once.

        Raises:
            InvalidDemoSetting: there is no such lever, or a value is outside its bounds; none is changed.
        """
        values: dict[str, float] = {}
        for name, value in wanted.items():
            lever = self.levers.get(name)
            if lever is None:
                raise InvalidDemoSetting(f"There is no lever {name!r} here.")
            if not lever.minimum <= value <= lever.maximum:
                bounds = f"{lever.minimum:g} to {lever.maximum:g}"
                raise InvalidDemoSetting(f"{name.capitalize()} goes from {bounds}.")
            values[name] = value if lever.step < 1 else int(value)
        self._values |= values
        self._apply()
        self._cancel_reset()
        self._reset_timer = asyncio.get_running_loop().call_later(RESET_AFTER_S, self.reset)

    def reset(self) -> None:
        """Put every lever back to the settings."""
        self._cancel_reset()
        self._values = {name: lever.preset for name, lever in self.levers.items()}
        self._apply()

    def _apply(self) -> None:
        if self._settings.limiter == "leaky_bucket":
            gcra = GCRA.leaky_bucket(self._values["rate"], self._settings.max_delay)
        else:
            gcra = GCRA.token_bucket(self._values["rate"], int(self._values["burst"]))
        self._reconfigure(gcra, int(self._values["queue"]), int(self._values["workers"]))

    def _cancel_reset(self) -> None:
        if self._reset_timer is not None:
            self._reset_timer.cancel()
            self._reset_timer = None

    def snapshot(self) -> dict[str, Any]:
        """The value of each lever, and the seconds until all are reset; None while none is changed."""
        seconds_left = None
        if self._reset_timer is not None:
            seconds_left = round(self._reset_timer.when() - asyncio.get_running_loop().time())
        return {"levers": dict(self._values), "back_in_s": seconds_left}
