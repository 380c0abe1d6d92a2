"""The page for people, rendered: what each part of the path is, and the settings behind it."""

import math
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from app.server.problems import KINDS, Kind
from app.settings import Settings
from app.stampede.acts import ACTS
from app.web.demo_settings import demo_settings_of

STATIC_ROOT: Final = Path(__file__).with_name("static")

# Past this many, one drawn slot stands for several: a picture of ten thousand slots shows nothing.
SLOTS_DRAWN: Final = 100
WORKERS_DRAWN: Final = 32
GUARDS: Final = ("rate", "share", "draining", "breaker", "queue", "disk")
# A column of the last minute, what it is called, its unit, how its values are told, and its tint.
GAUGES: Final = (
    ("accepted", "accepted", "/s", "", ""),
    ("done", "done", "/s", "", ""),
    ("degraded", "degraded", "/s", "", "warm"),
    ("429", "429 too fast", "/s", "", "warm"),
    ("503", "503 full", "/s", "", "warm"),
    ("wait_ms", "wait", "", "wait", ""),
    ("memory_bytes", "memory", "", "size", ""),
)
UNITS: Final = {"rate": "/s"}


def template(name: str) -> Template:
    """A page, or a part of one."""
    return Template((STATIC_ROOT / "pages" / f"{name}.html").read_text(encoding="utf-8"))


def render_home(settings: Settings) -> str:
    """The body of the page, with the settings that each part works by."""
    turbine = template("worker").substitute().strip()
    leaky = settings.limiter == "leaky_bucket"
    values = {
        "limiter": settings.limiter,
        "rate": f"{settings.rate:g}",
        "burst": settings.burst,
        "limit": math.floor(settings.rate * settings.max_delay) + 1 if leaky else settings.burst,
        "bucket": _leaky_sentence(settings) if leaky else _token_sentence(settings),
        "queue_size": settings.queue_size,
        "max_receiving": settings.max_receiving,
        "max_wait": _duration(settings.max_wait),
        "client_share": settings.client_share,
        "workers": settings.workers,
        "job_timeout": _duration(settings.job_timeout),
        "max_upload": _size(settings.max_upload_bytes),
        "max_pixels": f"{settings.max_pixels / 1e6:g}",
        "retention": _duration(settings.retention),
        "on_full": settings.on_full,
        "variants": ", ".join(f"{v.name} {v.side}" for v in settings.variants),
        "brownout": _brownout_sentence(settings),
        "deferred_size": settings.deferred_size,
        "sizes": "one size" if len(settings.variants) == 1 else f"{len(settings.variants)} sizes",
    }
    pieces = {
        "guards": "".join(_guard(KINDS[name]) for name in GUARDS),
        "slots": _slots(settings),
        "gauges": "".join(map(_gauge, GAUGES)),
        "pressure": _pressure(settings) if settings.demo else "",
        "turbines": turbine * min(settings.workers, WORKERS_DRAWN),
    }
    return template("home").substitute({k: escape(str(v)) for k, v in values.items()} | pieces)


def _token_sentence(settings: Settings) -> str:
    return (
        f"Your address owns a bucket of {settings.burst} tokens, refilled at {settings.rate:g} a second; "
        "each upload that asks takes one, and an empty bucket answers 429."
    )


def _leaky_sentence(settings: Settings) -> str:
    return (
        f"Your address may ask once every {1 / settings.rate:.3g} s; an early upload is held for up to "
        f"{settings.max_delay:g} s, and beyond that is answered 429."
    )


def _guard(kind: Kind) -> str:
    return (
        f'<li><a href="/problems/{kind.slug}">{kind.slug}</a> <small>{kind.status}</small>'
        f'<b data-figure="refusals.{kind.slug}">&ndash;</b></li>'
    )


def _brownout_sentence(settings: Settings) -> str:
    if settings.brownout == "off":
        return "Switched off by the settings: every photo is made in all its sizes at once."
    return (
        f"From {settings.brownout_high:.0%} of the queue on, each photo is made in its most needed size "
        f"first; the rest waits in the lane until the queue is down to {settings.brownout_low:.0%}."
    )


def _slots(settings: Settings) -> str:
    """The places of the queue, with the high-water mark between two of them."""
    drawn = min(settings.queue_size, SLOTS_DRAWN)
    mark = math.ceil(settings.brownout_high * drawn) if settings.brownout == "on" else drawn
    return "".join('<i class="mark"></i>' if place == mark else "<i></i>" for place in range(drawn))


def _gauge(gauge: tuple[str, str, str, str, str]) -> str:
    column, name, unit, told, tint = gauge
    shown = f' class="{tint}"' if tint else ""
    return (
        f'<div data-column="{column}" data-as="{told}"{shown}><dt>{name}</dt>'
        f"<dd><span><b>&ndash;</b>{unit}</span> <small></small></dd></div>"
    )


def _pressure(settings: Settings) -> str:
    acts = "".join(
        f'<button type="button" data-act="{act.name}" title="{escape(act.says)}">{act.title}</button>'
        for act in ACTS
    )
    levers = "".join(
        f'<label>{name}<input type="range" name="{name}" data-unit="{UNITS.get(name, "")}" '
        f'min="{lever.least:g}" max="{lever.most:g}" step="{lever.step:g}" value="{lever.preset:g}">'
        "<output></output></label>"
        for name, lever in demo_settings_of(settings).items()
    )
    return template("pressure").substitute(acts=acts, levers=levers)


def _size(amount: int) -> str:
    value, unit = float(amount), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:g} seconds"
