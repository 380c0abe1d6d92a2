"""The levers of a demonstration: a few settings that can be turned while the service runs, for a while."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.backpressure.token_bucket import GCRA, leaky_bucket_gcra, token_bucket_gcra
from app.server.problems import ProblemError
from app.settings import Settings

BACK_S: Final = 300.0
"""Seconds after the last turn of a lever in which all go back to the settings."""

_MOST_RATE: Final = 50.0
_MOST_BURST: Final = 100


class InvalidDemoSetting(ProblemError):
    """Raised when there is no such lever, or it does not go so far."""

    slug = "bad-request"


Reservation = Callable[[GCRA, int, int], None]
"""Has the service go on with another law of the buckets, so many places and so many workers."""


@dataclass(frozen=True, slots=True)
class Lever:
    """One of them: `preset` is the setting, where it goes back to; `least` and `most` are its bounds."""

    preset: float
    least: float
    most: float
    step: float


def demo_settings_of(settings: Settings) -> dict[str, Lever]:
    """The levers there are. The leaky bucket has no burst; what a queue was made for is its bound."""
    levers = {"rate": Lever(settings.rate, min(0.1, settings.rate), max(_MOST_RATE, settings.rate), 0.1)}
    if settings.limiter == "token_bucket":
        levers["burst"] = Lever(settings.burst, 1, max(_MOST_BURST, settings.burst), 1)
    levers["queue"] = Lever(settings.queue_size, 1, settings.queue_size, 1)
    levers["workers"] = Lever(settings.workers, 1, settings.workers, 1)
    return levers


class DemoSettings:
    """Holds the positions, and brings them back to the settings by itself."""

    def __init__(self, settings: Settings, turn: Reservation) -> None:
        self.levers = demo_settings_of(settings)
        self._settings = settings
        self._turn = turn
        self._positions = {name: lever.preset for name, lever in self.levers.items()}
        self._going_back: asyncio.TimerHandle | None = None

    def set(self, wanted: Mapping[str, float]) -> None:
        """Turn some levers, at once.

        Raises:
            BadLever: there is no such lever, or it does not go so far; none is turned then.
        """
        positions: dict[str, float] = {}
        for name, value in wanted.items():
            lever = self.levers.get(name)
            if lever is None:
                raise InvalidDemoSetting(f"There is no lever {name!r} here.")
            if not lever.least <= value <= lever.most:
                raise InvalidDemoSetting(f"{name.capitalize()} goes from {lever.least:g} to {lever.most:g}.")
            positions[name] = value if lever.step < 1 else int(value)
        self._positions |= positions
        self._apply()
        self._stop_timer()
        self._going_back = asyncio.get_running_loop().call_later(BACK_S, self.reset)

    def reset(self) -> None:
        """Back to the settings."""
        self._stop_timer()
        self._positions = {name: lever.preset for name, lever in self.levers.items()}
        self._apply()

    def _apply(self) -> None:
        at, settings = self._positions, self._settings
        if settings.limiter == "leaky_bucket":
            meter = leaky_bucket_gcra(at["rate"], settings.max_delay)
        else:
            meter = token_bucket_gcra(at["rate"], int(at["burst"]))
        self._turn(meter, int(at["queue"]), int(at["workers"]))

    def _stop_timer(self) -> None:
        if self._going_back is not None:
            self._going_back.cancel()
            self._going_back = None

    def snapshot(self) -> dict[str, Any]:
        """Where each stands, and the seconds until they go back; None while they are as the settings say."""
        left = None
        if self._going_back is not None:
            left = round(self._going_back.when() - asyncio.get_running_loop().time())
        return {"levers": dict(self._positions), "back_in_s": left}
