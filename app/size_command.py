"""The command `spillway size`: what a number of photos an hour takes, by the figures of `app.sizing`."""

import json
import math
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from app.runtime.failure import fail
from app.sizing import BUSY, TRIAL_MS, UPLOAD_BYTES, YEAR_S, Demand, Need, estimate


class PhotoFormat(StrEnum):
    """The formats of photos whose cost was measured."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    HEIC = "heic"


def size(  # size: its options
    photos_per_hour: Annotated[
        float, typer.Option(min=0.001, max=1e9, help="Photos an hour, mean of a day.")
    ],
    megapixels: Annotated[float, typer.Option(min=0.01, max=1000, help="Of each photo.")] = 12,
    peak: Annotated[float, typer.Option(min=1, max=1000, help="The busiest minutes, times the mean.")] = 3,
    photo_format: Annotated[
        PhotoFormat, typer.Option("--format", help="Format of the photos.")
    ] = PhotoFormat.JPEG,
    photo_bytes: Annotated[
        str | None, typer.Option("--bytes", help="Size of a photo, such as 4MiB [by megapixels].")
    ] = None,
    wait: Annotated[float, typer.Option(min=0.1, max=3600, help="Longest wait in the queue, seconds.")] = 10,
    variants: Annotated[str | None, typer.Option(help="Variants to make [VARIANTS].")] = None,
    retention: Annotated[str | None, typer.Option(help="How long images live [RETENTION].")] = None,
    here: Annotated[bool, typer.Option("--here", help="Measure how fast this machine is; a second.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as JSON.")] = False,
) -> None:
    """Tell which cores, memory, disk and settings so many photos an hour need, from measured figures."""
    from pydantic import TypeAdapter, ValidationError

    from app.setting_values import Size
    from app.settings import SettingsError, load_settings

    given = {"variants": variants, "retention": retention}
    try:
        settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        upload_bytes = megapixels * UPLOAD_BYTES[photo_format]
        if photo_bytes is not None:
            upload_bytes = float(TypeAdapter(Size).validate_python(photo_bytes))
    except SettingsError as error:
        fail(error)
    except ValidationError as error:
        fail(f"--bytes: {error.errors()[0]['msg'].removeprefix('Value error, ')}")
    if megapixels * 1e6 > settings.max_pixels:
        fail(f"--megapixels {megapixels:g} is more than MAX_PIXELS={settings.max_pixels} allows")
    demand = Demand(
        photos_per_hour / 3600,
        peak,
        megapixels,
        photo_format,
        upload_bytes,
        settings.variants,
        settings.retention,
        settings.keep_original,
        wait,
        _speed_of_this_machine() if here else 1.0,
    )
    need = estimate(demand)
    if as_json:
        print(json.dumps({"speed": demand.speed, **asdict(need)}))
    else:
        print(_described(demand, need, settings.worker_memory))


def _speed_of_this_machine() -> float:
    """How many times as fast as the machine of the figures this one makes a photo of its own."""
    import asyncio

    from app.engine.calibration import measure_cpu_s
    from app.settings import Settings

    specs = [variant.spec for variant in Settings.model_fields["variants"].default]
    try:
        return TRIAL_MS / 1000 / asyncio.run(measure_cpu_s(specs))
    except (OSError, ValueError) as error:
        fail(f"how fast this machine is could not be measured: {error}")


def _described(demand: Demand, need: Need, worker_memory: int) -> str:
    rows = [
        ("cores", f"{need.cores}", f"{need.worker_ms + need.server_ms:.0f} ms a photo; {BUSY:.0%} busy then"),
        ("memory", _gib(need.memory), f"limit: {_gib(need.memory + need.workers * worker_memory)}"),
        (
            "disk",
            _gib(need.disk),
            f"{_life(demand)}; {need.files:,.0f} files; {_gib(need.disk_per_day)} a day",
        ),
        (
            "network in",
            f"{need.network_bits_per_s / 1e6:,.0f} Mbit/s",
            f"{demand.upload_bytes / 1e6:.3g} MB a photo",
        ),
        ("replicas", f"{need.replicas}", _replicas(need)),
    ]
    settings = {
        "WORKERS": f"{need.workers}",
        "QUEUE_SIZE": f"{need.queue_size}",
        "STORE_MAX_BYTES": f"{math.ceil(need.store_max_bytes / 2**30)}GiB",
    }
    photos = f"{demand.photos_per_s * 3600:,.0f} photos an hour of {demand.megapixels:g} MP ({demand.format})"
    return "\n".join(
        [
            f"{photos}, {need.peak_photos_per_s:.3g} a second at the peak",
            "",
            *(f"{name:12}{value:>12}   {why}" for name, value, why in rows),
            "",
            *(f"SPILLWAY_{name}={value}" for name, value in settings.items()),
        ]
    )


def _life(demand: Demand) -> str:
    """For how long images are counted."""
    if demand.retention_s > YEAR_S:
        return "a year's images"
    return f"images of {demand.retention_s / 3600:g} hours"


def _replicas(need: Need) -> str:
    if need.replicas == 1:
        return f"one server process, {need.peak_photos_per_s * need.server_ms / 1000:.0%} of a core"
    return "server processes, which share the work by ENGINE_URL and STORE_URL (docs/scale.md)"


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:,.{0 if size_bytes > 1e11 else 1}f} GiB"
