"""A worker process whose forks do what a hostile image might make them do, by the id of the task.

Run as a program; it differs from `python -m workers` only in what its forks do.
"""

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from workers.canary import CanaryError, check_codecs
from workers.child import Child
from workers.fork import Fork, start_fork
from workers.messages import Done, Failed, Made, Message, Ready, Source, Task

_PICTURE = b"\xff\xd8\xff\xe0" + bytes(60)


@dataclass(frozen=True)
class Bytes:
    """Bytes that are sent as they are, in place of a frame."""

    data: bytes

    def to_frame(self) -> bytes:
        """The bytes."""
        return self.data


def misbehave(job: Task) -> Message | Bytes:
    """Do what the task's id says."""
    folder = Path(job.folder)
    made = Made("it", "it.jpg", "jpeg", 32, 24)
    (folder / "it.jpg").write_bytes(_PICTURE)
    honest = Done(job.id, Source("jpeg", 64, 48), (made,), 9.9, 9)
    match job.id:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "silence":
            os._exit(3)
        case "cpu-limit":
            os.kill(os.getpid(), signal.SIGXCPU)
        case "huge-frame":
            return Bytes(b"\xff\xff\xff\xff" + bytes(100))
        case "endless":
            # The first frame counts, and nobody listens to the rest.
            return Bytes(honest.to_frame() + bytes(10_000_000))
        case "no-json":
            return Bytes(b"\0\0\0\4{{{{")
        case "half-frame":
            return Bytes(honest.to_frame()[:-5])
        case "other-type":
            return Ready(1, {})
        case "other-job":
            return Done("somebody", honest.source, honest.made)
        case "other-variant":
            return Done(job.id, honest.source, (Made("that", "that.jpg", "jpeg", 1, 1),))
        case "too-large":
            return Done(job.id, honest.source, (Made("it", "it.jpg", "jpeg", 33, 24),))
        case "other-shape":
            return Done(job.id, honest.source, (Made("it", "it.jpg", "jpeg", 32, 32),))
        case "other-source":
            return Done(job.id, Source("jpeg", 640, 640), (made,))
        case "missing-file":
            (folder / "it.jpg").unlink()
        case "linked-file":
            (folder / "it.jpg").unlink()
            (folder / "it.jpg").symlink_to(folder.parent / "upload")
        case "piped-file":
            (folder / "it.jpg").unlink()
            os.mkfifo(folder / "it.jpg")
        case "html-file":
            (folder / "it.jpg").write_bytes(b"<!DOCTYPE html>" + bytes(60))
        case "blames-parent":
            return Failed(job.id, "cancelled", "Nobody did.")
        case "claims-no-space":
            return Failed(job.id, "no-space", "There is none.")
        case "closes-pipe":
            os.closerange(3, 64)
            signal.pause()
        case _:
            pass
    return honest


def start(job: Task) -> Fork:
    """Fork a process that misbehaves."""
    return start_fork(lambda: misbehave(job), job.id)  # type: ignore[arg-type, return-value]


def check() -> None:
    """The check of the codecs, which fails if the program was started with `--dead-canary`."""
    if "--dead-canary" in sys.argv:
        raise CanaryError("the canary is dead")
    check_codecs()


if __name__ == "__main__":
    child = Child(0, 1, start, check)
    child.send(Ready(os.getpid(), {}))
    child.serve()
