"""Checks what was set: names that are no settings, values that do not suit the machine or each other."""

import difflib
import os
from collections.abc import Mapping
from typing import Literal

from dotenv import dotenv_values

from app.runtime.cgroup import memory_limit, usable_cpus
from app.settings import PREFIX, Settings
from workers.variants import MAX_SIDE, Fit, Variant

_COMPOSE_NAMES = ("SPILLWAY_MEMORY_LIMIT", "SPILLWAY_FRONT", "SPILLWAY_PUBLISHED_PORT")
"""Variables of the compose files, which a `.env` beside them hands on to the containers."""


def given_names() -> Mapping[str, str | None]:
    """The variables that are meant as settings, by name, with their values: of `.env` and the environment."""
    given = {**dotenv_values(".env", interpolate=False), **os.environ}
    return {name: value for name, value in given.items() if name.upper().startswith(PREFIX)}


def log_format() -> Literal["text", "json"]:
    """LOG_FORMAT, before it is known whether the settings are valid, for the line that says so."""
    named = {name.upper(): value for name, value in given_names().items()}
    return "json" if named.get(f"{PREFIX}LOG_FORMAT") == "json" else "text"


def unknown_names() -> list[str]:
    """One line for each variable that looks like a setting and is none, with the setting that was meant."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    found = []
    for name in given_names():
        if name.upper() in (*known, *_COMPOSE_NAMES):
            continue
        meant = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.75)
        hint = f"did you mean {meant[0]}?" if meant else "`spillway serve --help` lists them"
        found.append(f"{name} is no setting: {hint}")
    return found


def _memory_warning(workers: int, worker_memory: int, limit: int) -> str:
    need = workers * worker_memory
    remedies = [f"give the container {_mib(need)}", f"set SPILLWAY_WORKER_MEMORY={limit // workers >> 20}MiB"]
    if fitting := limit // worker_memory:
        remedies.insert(0, f"set SPILLWAY_WORKERS={fitting}")
    return (
        f"WORKERS x WORKER_MEMORY = {workers} x {_mib(worker_memory)} = {_mib(need)}, more than the "
        f"{_mib(limit)} that this container may use: {', or '.join(remedies)}"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


SHARED_ENGINE_NEEDS_BUCKET = (
    "STORE_URL=file: is for a single process; with ENGINE_URL=nats:// replicas and workers need "
    "STORE_URL=s3://BUCKET/PREFIX"
)


def needs_bucket(settings: Settings) -> bool:
    """Whether the engine is shared by several processes but the store is a folder of one."""
    return settings.engine_url != "local:" and settings.store_url.startswith("file:")


def warnings_for(settings: Settings) -> list[str]:
    """One line for each setting that is valid but does not suit this machine, or the other settings."""
    found = []
    limit = memory_limit()
    if limit is not None and settings.workers * settings.worker_memory > limit:
        found.append(_memory_warning(settings.workers, settings.worker_memory, limit))
    if settings.workers > usable_cpus():
        found.append(f"WORKERS={settings.workers} is more than the {usable_cpus()} usable CPUs")
    if needs_bucket(settings):
        found.append(SHARED_ENGINE_NEEDS_BUCKET)
    if settings.max_upload_bytes > settings.store_max_bytes:
        found.append("MAX_UPLOAD_BYTES is more than STORE_MAX_BYTES: the largest uploads can never be stored")
    if settings.demo and settings.upload_keys:
        found.append("DEMO=true with UPLOAD_KEYS: the page's pressure has no tickets and is refused with 401")
    if settings.client_share > settings.queue_size + settings.max_receiving:
        found.append("CLIENT_SHARE is more than QUEUE_SIZE + MAX_RECEIVING: no client can ever reach it")
    return found


def describe(variant: Variant) -> str:
    """One line about what a variant will be."""
    width, height = variant.width, variant.height
    if variant.fit is not Fit.CONTAIN:
        shape = f"{width} x {height} pixels, filled and {_KEPT[variant.fit]}"
    elif width == height:
        shape = f"at most {width} pixels along the longer side"
    elif MAX_SIDE in (width, height):
        shape = f"at most {min(width, height)} pixels {'high' if width == MAX_SIDE else 'wide'}"
    else:
        shape = f"all of the photo within {width} x {height} pixels"
    kind = f"{'animated ' if variant.animated else ''}{variant.format}{', Display P3' if variant.p3 else ''}"
    quality = "" if variant.format == "png" else f", quality {variant.quality}"
    return f"{variant.name}: {shape}; {kind}{quality}"


_KEPT = {
    Fit.COVER: "cut to the middle",
    Fit.TOP: "cut to the top",
    Fit.BOTTOM: "cut to the bottom",
    Fit.LEFT: "cut to the left",
    Fit.RIGHT: "cut to the right",
    Fit.SMART: "cut to where it is richest",
}
