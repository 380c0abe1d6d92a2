"""What the parent and a warm child say to one another, each message one JSON object in one frame.

Both ends read the other's frames as untrusted input: a child may have been taken over by an image.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from workers.frames import LENGTH_BYTES, MAX_FRAME, FrameBuffer, ProtocolError, framed, payload_length

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
    "Started",
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
)
"""Why a job can fail."""

KIND = "type"
"""The field that names a message's type."""


@dataclass(frozen=True, slots=True)
class Task:
    """Make the variants (entries of the variants grammar) of the file `source` in the directory `folder`.

    `timeout_s` is the time after which the job is killed, in seconds; `memory_bytes` is what it may
    allocate; `max_pixels` what its header may promise; `truncated` says to take what is there of a cut file;
    `blurhash` asks for one.
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
    blurhash: str = ""

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


Message = Task | Cancel | Ready | Started | Done | Failed


def _frame(kind: str, message: Any) -> bytes:
    return framed(json.dumps({KIND: kind, **asdict(message)}, separators=(",", ":")).encode("utf-8"))
