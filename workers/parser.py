"""Parses messages: each field must have its one type and a value in its range."""

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from workers.background import read_colour
from workers.formats import EXTENSIONS, PILLOW_NAMES
from workers.frames import MAX_FRAME, ProtocolError
from workers.json_fields import Fields
from workers.messages import KIND, REASONS, Cancel, Done, Failed, Made, Message, Ready, Source, Task
from workers.variants import MAX_SIDE, MAX_VARIANTS, read_specs

_BLURHASH = re.compile(r"([0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{6,166})?", re.ASCII)
"""Base 83, of 1 x 1 to 9 x 9 components; empty if none was wanted."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FILE = re.compile(r"[a-z0-9_-]{1,32}\.[a-z]{3,4}", re.ASCII)


def parse(payload: bytes) -> Message:
    """Parse one payload (a frame without its length); raises ProtocolError if it is no message."""
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"a frame of {len(payload)} bytes is more than {MAX_FRAME}")
    try:
        value = _DECODER.decode(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a frame is not JSON") from error
    fields = Fields(value, "message")
    kind = fields.take(KIND, str)
    reader = _READERS.get(kind)
    if reader is None:
        raise ProtocolError("a message is of no known type")
    message = reader(fields)
    fields.finish()
    return message


def _read_task(fields: Fields) -> Task:
    specs: list[str] = []
    for item in fields.items("variants", 1, MAX_VARIANTS):
        if not isinstance(item, str):
            fields.fail("variants")
        specs.append(item)
    try:
        read_specs(specs)
    except ValueError:
        fields.fail("variants")
    background = fields.line("background", 32)
    try:
        read_colour(background)
    except ValueError:
        fields.fail("background")
    timeout_s = fields.seconds("timeout_s", 86_400)
    return Task(
        id=fields.matching("id", _ID),
        source=fields.path("source"),
        folder=fields.path("folder"),
        variants=tuple(specs),
        max_pixels=fields.integer("max_pixels", 1, 2**40),
        timeout_s=timeout_s if timeout_s > 0 else fields.fail("timeout_s"),
        memory_bytes=fields.integer("memory_bytes", 1, 2**50),
        truncated=fields.take("truncated", bool),
        blurhash=fields.take("blurhash", bool),
        background=background,
        stand_in=fields.take("stand_in", bool),
    )


def _read_cancel(fields: Fields) -> Cancel:
    return Cancel(id=fields.matching("id", _ID))


def _read_ready(fields: Fields) -> Ready:
    layers: dict[Any, Any] = fields.take("sandbox", dict)
    inner = Fields(layers, "sandbox")
    names = [name for name in layers if _ID.fullmatch(name)]
    if len(names) != len(layers) or len(names) > 16:
        fields.fail("sandbox")
    return Ready(
        pid=fields.integer("pid", 1, 2**31 - 1), sandbox={name: inner.line(name, 200) for name in names}
    )


def _read_done(fields: Fields) -> Done:
    source = Fields(fields.take("source", dict), "source")
    made = tuple(_read_made(item) for item in fields.items("made", 1, MAX_VARIANTS))
    if len({one.name for one in made}) != len(made):
        fields.fail("made")
    done = Done(
        id=fields.matching("id", _ID),
        source=Source(
            format=source.one_of("format", tuple(PILLOW_NAMES)),
            width=source.integer("width", 1, 2**31 - 1),
            height=source.integer("height", 1, 2**31 - 1),
        ),
        made=made,
        cpu_s=fields.seconds("cpu_s", 1e9),
        peak_bytes=fields.integer("peak_bytes", 0, 2**60),
        blurhash=fields.matching("blurhash", _BLURHASH),
    )
    source.finish()
    return done


def _read_made(value: object) -> Made:
    fields = Fields(value, "variant")
    made = Made(
        name=fields.line("name", 32),
        file=fields.matching("file", _FILE),
        format=fields.one_of("format", tuple(EXTENSIONS)),
        width=fields.integer("width", 1, MAX_SIDE),
        height=fields.integer("height", 1, MAX_SIDE),
        provisional=fields.take("provisional", bool),
    )
    fields.finish()
    if made.file != f"{made.name}.{EXTENSIONS[made.format]}":
        fields.fail("file")
    return made


def _read_failed(fields: Fields) -> Failed:
    return Failed(
        id=fields.matching("id", _ID),
        reason=fields.one_of("reason", REASONS),
        detail=fields.line("detail", 300),
    )


_READERS: dict[str, Callable[[Fields], Message]] = {
    "job": _read_task,
    "cancel": _read_cancel,
    "ready": _read_ready,
    "done": _read_done,
    "failed": _read_failed,
}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
