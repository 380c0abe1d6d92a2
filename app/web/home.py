"""What the template of the home page (`templates/home.html`) is filled with, besides the settings."""

import math
from dataclasses import dataclass
from typing import Any, Final

from app.server.problems import KINDS
from app.settings import Settings
from app.stampede.acts import ACTS
from app.web.demo_settings import levers_of
from app.web.tour import TOUR
from workers.formats import SOURCE_NAMES

MAX_SLOTS_DRAWN: Final = 100
"""In a longer queue each drawn slot stands for several: a picture of ten thousand slots shows nothing."""
MAX_WORKERS_DRAWN: Final = 32
GUARDS: Final = ("rate", "share", "queue", "draining", "breaker", "disk")


@dataclass(frozen=True, slots=True)
class Gauge:
    """One chart of the last minute: its `column` in the statistics, how it is labelled and formatted."""

    column: str
    label: str
    unit: str = ""
    format: str = ""
    """A formatter that `js/minute.js` knows; empty for plain numbers."""
    warm: bool = False
    """Whether the chart is drawn in the colour of refusals."""


GAUGES: Final = (
    Gauge("accepted", "accepted", "/s"),
    Gauge("done", "done", "/s"),
    Gauge("degraded", "degraded", "/s", warm=True),
    Gauge("429", "429 too fast", "/s", warm=True),
    Gauge("503", "503 later", "/s", warm=True),
    Gauge("wait_ms", "wait", format="wait"),
    Gauge("memory_bytes", "memory", format="size"),
)


def home_values(settings: Settings) -> dict[str, Any]:
    """The variables of the template `home.html`."""
    slots_drawn = min(settings.queue_size, MAX_SLOTS_DRAWN)
    brownout_mark = None
    if settings.brownout != "off":
        brownout_mark = math.ceil(settings.brownout_high * slots_drawn)
    limit = settings.burst
    if settings.limiter == "leaky_bucket":
        limit = math.floor(settings.rate * settings.max_delay) + 1
    by_size = sorted(settings.variants, key=lambda variant: variant.area, reverse=True)
    return {
        "settings": settings,
        "limit": limit,
        "seconds_per_token": 1 / settings.rate,
        "gauges": GAUGES,
        "guards": [KINDS[name] for name in GUARDS],
        "accepted": SOURCE_NAMES,
        "notes": _notes(settings),
        "widths": [[each.name, math.isqrt(each.area)] for each in by_size],
        "slots_drawn": slots_drawn,
        "brownout_mark": brownout_mark,
        "workers_drawn": min(settings.workers, MAX_WORKERS_DRAWN),
        "acts": ACTS,
        "tour": TOUR,
        "keeps_for_good": math.isinf(settings.retention),
        "levers": levers_of(settings),
    }


def _notes(settings: Settings) -> str:
    """What people should know before they send a GIF or a picture that is transparent in places."""
    notes = []
    if not any(variant.animated for variant in settings.variants):
        notes.append("a GIF becomes a still picture")
    if all(variant.format == "jpeg" for variant in settings.variants):
        notes.append(f"what is transparent becomes {settings.background}")
    text = ", and ".join(notes)
    return text[:1].upper() + text[1:]


def format_number(value: float, digits: int = 6) -> str:
    """`value` with at most so many significant digits, and no zeros that say nothing: 2.0 is "2"."""
    return f"{value:.{digits}g}"


def format_percent(share: float) -> str:
    """A share between 0 and 1 as whole percent."""
    return f"{share:.0%}"


def format_duration(seconds: float) -> str:
    """A duration in the largest unit of which there are at least two, such as "90 seconds" or "2 hours"."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:g} seconds"
