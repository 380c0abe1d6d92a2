"""The messages between the parent and a worker process; each is one JSON object in one frame.

Both ends treat what they read as untrusted input: a hostile image may have taken over the worker.
"""

import json
from dataclasses import dataclass
from typing import Any

from workers.frames import LENGTH_BYTES, MAX_FRAME, FrameBuffer, ProtocolError, make_frame, payload_length

__all__ = (
    "KIND",
    "LENGTH_BYTES",
    "MAX_FRAME",
    "REASONS",
    "Cancel",
    "Done",
    "Failed",
    "FrameBuffer",
    "Made",
    "Message",
    "ProtocolError",
    "Ready",
    "Source",
    "Task",
    "payload_length",
)

REASONS = (
    "undecodable",
    "too-many-pixels",
    "too-slow",
    "too-much-memory",
    "worker-died",
    "cancelled",
    "no-space",
    "no-process",
)
"""Why a job can fail."""

KIND = "type"
"""The field with the type of a message."""


@dataclass(frozen=True, slots=True)
class Task:
    """A request: make these variants (entries of the grammar) of the file `source` in the directory `folder`.

    The process of the task is killed after `timeout_s` seconds; it may allocate `memory_bytes`. An image with
    more than `max_pixels` is refused. With `truncated` an incomplete file is decoded as far as it goes, and
    with `blurhash` that is computed, too. `background` is the colour that shows through transparency where a
    format has none (`workers/background.py`). With `stand_in` the thumbnail embedded in the file may be used
    in place of its picture (`workers/stand_in.py`). `id` is that of the job.
    """

    id: str
    source: str
    folder: str
    variants: tuple[str, ...]
    max_pixels: int
    timeout_s: float
    memory_bytes: int
    truncated: bool = False
    blurhash: bool = False
    background: str = "#ffffff"
    stand_in: bool = False

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("job", self)


@dataclass(frozen=True, slots=True)
class Cancel:
    """A request: stop the task `id` if it is running; otherwise nothing happens."""

    id: str

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("cancel", self)


@dataclass(frozen=True, slots=True)
class Ready:
    """The process `pid` has loaded and checked its codecs; `sandbox` has the state of each layer."""

    pid: int
    sandbox: dict[str, str]

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("ready", self)


@dataclass(frozen=True, slots=True)
class Source:
    """The decoded upload: its format, and its upright size in pixels."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Made:
    """A variant that was made; `file` is its name in the folder of the task.

    It is `provisional` if it was made of the embedded thumbnail, and not of the picture.
    """

    name: str
    file: str
    format: str
    width: int
    height: int
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The task `id` is done; its process took `cpu_s` seconds of CPU and `peak_bytes` of memory."""

    id: str
    source: Source
    made: tuple[Made, ...]
    cpu_s: float = 0.0
    peak_bytes: int = 0
    blurhash: str = ""

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("done", self)


@dataclass(frozen=True, slots=True)
class Failed:
    """The task `id` failed; `reason` is one of `REASONS`, `detail` a sentence for people."""

    id: str
    reason: str
    detail: str

    def to_frame(self) -> bytes:
        """This message as a frame, length included."""
        return _frame("failed", self)


Message = Task | Cancel | Ready | Done | Failed


def _frame(kind: str, message: Any) -> bytes:
    return make_frame(_ENCODER.encode({KIND: kind, **_fields(message)}).encode("utf-8"))


def _fields(message: Any) -> dict[str, Any]:
    """The fields of a message, or of what is in one, by name. `asdict` would copy all that they contain."""
    return {name: getattr(message, name) for name in message.__slots__}


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_fields)
