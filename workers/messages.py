"""Frames between the parent and a warm child: a 4-byte big-endian length, then one JSON object in UTF-8.

Both ends read the other's frames as untrusted input: a child may have been taken over by an image.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, TypeVar

from workers.formats import EXTENSIONS, PILLOW_NAMES
from workers.variants import MAX_SIDE, MAX_VARIANTS, parse_variants

MAX_FRAME = 64 * 1024
"""Largest payload of a frame, in bytes; a longer one is a protocol error."""

LENGTH_BYTES = 4

REASONS = (
    "undecodable",
    "too-many-pixels",
    "too-slow",
    "too-much-memory",
    "worker-died",
    "cancelled",
    "no-space",
)
"""Why a job can fail."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FILE = re.compile(r"[a-z0-9_-]{1,32}\.[a-z]{3,4}", re.ASCII)
_KIND = "type"
_T = TypeVar("_T")


class ProtocolError(Exception):
    """Raised when bytes are no frame of this protocol."""


@dataclass(frozen=True, slots=True)
class Job:
    """Make the variants (entries of the variants grammar) of the file `source` in the directory `folder`.

    `timeout_s` is the time after which the job is killed, in seconds; `memory_bytes` is what it may
    allocate; `max_pixels` what its header may promise; `truncated` says to take what is there of a cut file.
    """

    id: str
    source: str
    folder: str
    variants: tuple[str, ...]
    max_pixels: int
    timeout_s: float
    memory_bytes: int
    truncated: bool = False

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("job", self)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the job `id` if it is the one that runs; else mean nothing."""

    id: str

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("cancel", self)


@dataclass(frozen=True, slots=True)
class Ready:
    """The child `pid` has its codecs loaded and tried; `sandbox` says of each layer what is in force."""

    pid: int
    sandbox: dict[str, str]

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("ready", self)


@dataclass(frozen=True, slots=True)
class Started:
    """The job `id` runs in the process `pid`."""

    id: str
    pid: int

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("started", self)


@dataclass(frozen=True, slots=True)
class Source:
    """What the upload turned out to be; width and height in pixels, as shown upright."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Made:
    """One variant: `file` is its plain name within the job's folder."""

    name: str
    file: str
    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Done:
    """The job `id` is made, by a process that took `cpu_s` seconds of CPU and `peak_bytes` of memory."""

    id: str
    source: Source
    made: tuple[Made, ...]
    cpu_s: float = 0.0
    peak_bytes: int = 0

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("done", self)


@dataclass(frozen=True, slots=True)
class Failed:
    """The job `id` failed for a reason out of `REASONS`; `detail` is a sentence for people."""

    id: str
    reason: str
    detail: str

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("failed", self)


Message = Job | Cancel | Ready | Started | Done | Failed


class FrameBuffer:
    """Bytes of a stream of frames, cut into payloads as they arrive; holds at most one frame and a read."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take `data`, yield each payload that it completes; raises ProtocolError on a length too large."""
        self._held += data
        while len(self._held) >= LENGTH_BYTES:
            end = LENGTH_BYTES + payload_length(bytes(self._held[:LENGTH_BYTES]))
            if len(self._held) < end:
                return
            payload = bytes(self._held[LENGTH_BYTES:end])
            del self._held[:end]
            yield payload


def payload_length(prefix: bytes) -> int:
    """Length in bytes that a frame's first four bytes announce; raises ProtocolError past `MAX_FRAME`."""
    if len(prefix) != LENGTH_BYTES:
        raise ProtocolError("a frame begins with its length in four bytes")
    length = int.from_bytes(prefix, "big")
    if not 0 < length <= MAX_FRAME:
        raise ProtocolError(f"a frame of {length} bytes is outside 1 to {MAX_FRAME}")
    return length


def parse(payload: bytes) -> Message:
    """Read one payload (a frame without its length); raises ProtocolError for whatever is not a message."""
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"a frame of {len(payload)} bytes is more than {MAX_FRAME}")
    try:
        value = json.loads(payload.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a frame is not JSON") from error
    fields = _Fields(value, "message")
    kind = fields.take(_KIND, str)
    reader = _READERS.get(kind)
    if reader is None:
        raise ProtocolError("a message is of no known type")
    message = reader(fields)
    fields.finish()
    return message


class _Fields:
    """The fields of one untrusted JSON object, each taken once; what is left over is an error."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise ProtocolError(f"a {what} is not an object")
        self._value: dict[str, object] = dict(value)
        self._what = what

    def fail(self, key: str) -> NoReturn:
        raise ProtocolError(f"the field {key} of a {self._what} is not acceptable")

    def take(self, key: str, kind: type[_T]) -> _T:
        value = self._value.pop(key, None)
        # Not isinstance: True is an int to Python, and must not be one here.
        if type(value) is not kind:
            self.fail(key)
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        value = self.take(key, int)
        return value if least <= value <= most else self.fail(key)

    def seconds(self, key: str, most: float) -> float:
        value = self._value.pop(key, None)
        if type(value) not in (int, float) or not isinstance(value, int | float):
            self.fail(key)
        return float(value) if 0 <= value <= most and math.isfinite(value) else self.fail(key)

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.take(key, str)
        return value if pattern.fullmatch(value) else self.fail(key)

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self.take(key, str)
        return value if value in known else self.fail(key)

    def line(self, key: str, most: int) -> str:
        value = self.take(key, str)
        return value if 0 < len(value) <= most and value.isprintable() else self.fail(key)

    def path(self, key: str) -> str:
        value = self.take(key, str)
        if not value.startswith("/") or len(value) > 4096 or "\0" in value or not _encodable(value):
            self.fail(key)
        return value

    def items(self, key: str, least: int, most: int) -> list[object]:
        value: list[object] = self.take(key, list)
        return value if least <= len(value) <= most else self.fail(key)

    def finish(self) -> None:
        if self._value:
            raise ProtocolError(f"a {self._what} has an unknown field")


def _read_job(fields: _Fields) -> Job:
    specs: list[str] = []
    for item in fields.items("variants", 1, MAX_VARIANTS):
        if not isinstance(item, str):
            fields.fail("variants")
        specs.append(item)
    try:
        if len(parse_variants(",".join(specs))) != len(specs):
            fields.fail("variants")
    except ValueError:
        fields.fail("variants")
    timeout_s = fields.seconds("timeout_s", 86_400)
    return Job(
        id=fields.matching("id", _ID),
        source=fields.path("source"),
        folder=fields.path("folder"),
        variants=tuple(specs),
        max_pixels=fields.integer("max_pixels", 1, 2**40),
        timeout_s=timeout_s if timeout_s > 0 else fields.fail("timeout_s"),
        memory_bytes=fields.integer("memory_bytes", 1, 2**50),
        truncated=fields.take("truncated", bool),
    )


def _read_cancel(fields: _Fields) -> Cancel:
    return Cancel(id=fields.matching("id", _ID))


def _read_ready(fields: _Fields) -> Ready:
    layers: dict[Any, Any] = fields.take("sandbox", dict)
    inner = _Fields(layers, "sandbox")
    names = [name for name in layers if _ID.fullmatch(name)]
    if len(names) != len(layers) or len(names) > 16:
        fields.fail("sandbox")
    return Ready(
        pid=fields.integer("pid", 1, 2**31 - 1), sandbox={name: inner.line(name, 200) for name in names}
    )


def _read_started(fields: _Fields) -> Started:
    return Started(id=fields.matching("id", _ID), pid=fields.integer("pid", 1, 2**31 - 1))


def _read_done(fields: _Fields) -> Done:
    source = _Fields(fields.take("source", dict), "source")
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
    )
    source.finish()
    return done


def _read_made(value: object) -> Made:
    fields = _Fields(value, "variant")
    made = Made(
        name=fields.line("name", 32),
        file=fields.matching("file", _FILE),
        format=fields.one_of("format", tuple(EXTENSIONS)),
        width=fields.integer("width", 1, MAX_SIDE),
        height=fields.integer("height", 1, MAX_SIDE),
    )
    fields.finish()
    if made.file != f"{made.name}.{EXTENSIONS[made.format]}":
        fields.fail("file")
    return made


def _read_failed(fields: _Fields) -> Failed:
    return Failed(
        id=fields.matching("id", _ID),
        reason=fields.one_of("reason", REASONS),
        detail=fields.line("detail", 300),
    )


_READERS: dict[str, Callable[[_Fields], Message]] = {
    "job": _read_job,
    "cancel": _read_cancel,
    "ready": _read_ready,
    "started": _read_started,
    "done": _read_done,
    "failed": _read_failed,
}


def _frame(kind: str, message: Any) -> bytes:
    payload = json.dumps({_KIND: kind, **asdict(message)}, separators=(",", ":")).encode("utf-8")
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"a {kind} of {len(payload)} bytes does not fit a frame")
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def _encodable(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
