"""`python -m workers.preview [PARENT PID]`: a warm process that makes previews from EXIF thumbnails.

A preview answers an upload for which the queue has no place. Standard input and output carry frames: after
the message Ready, each EXIF segment is answered with a small JPEG of its thumbnail, or with `NO_PREVIEW`.
Each is made by a confined fork without a right to any file. The process ends when its standard input is
closed, and with its parent.
"""

import os
import select
import signal
import sys
import time
from io import BytesIO

from PIL import Image

from workers import process
from workers.canary import CanaryError
from workers.colour import to_eight_bit, to_srgb
from workers.encode import strip_metadata
from workers.exif_thumbnail import open_exif_thumbnail
from workers.fork import NO_PROCESS_ERRNOS, start_fork, start_writing_fork
from workers.frames import FrameBuffer, ProtocolError, make_frame, write_frame
from workers.messages import Ready
from workers.orientation import make_upright
from workers.sample_photo import ROUNDS, make_sample_segment
from workers.sandbox import Sandbox
from workers.thumbnail import MAX_SIDE, PREVIEW_TIMEOUT_S, read_plain_jpeg_size

NO_PREVIEW = b"-"
"""The answer if there is no thumbnail that can be decoded."""

_MAX_CPU_S = 0.05
"""Seconds of CPU for one preview; most take a tenth of that."""
_NICENESS = 10
"""Lower priority than the workers: jobs that were accepted come first."""
_MAX_MEMORY_BYTES = 64 * 1024 * 1024
_QUALITY = 80
_READ_BYTES = 65_536
_ORIENTATION = 0x0112


def make_preview(segment: bytes) -> bytes:
    """The thumbnail in an EXIF segment as a JPEG: upright, in sRGB, at most `MAX_SIDE`, without metadata.

    Raises any exception at all if that is broken or absent.
    """
    exif = Image.Exif()
    exif.load(segment)
    with open_exif_thumbnail(segment, exif) as image:
        image.thumbnail((MAX_SIDE, MAX_SIDE), reducing_gap=1.0)
        image.load()
        picture = to_srgb(to_eight_bit(image), image.info)
    file = BytesIO()
    strip_metadata(make_upright(picture, exif.get(_ORIENTATION, 1))).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def main() -> int:
    """Serve the parent until it closes the pipe; the exit status."""
    requests, responses = process.set_up_child()
    os.nice(_NICENESS)
    sandbox = Sandbox.prepare()
    try:
        layers = _rehearse(sandbox)
        process.settle_memory()
        write_frame(responses, Ready(os.getpid(), layers).to_frame())
        buffer = FrameBuffer()
        while data := os.read(requests, _READ_BYTES):
            for segment in buffer.feed(data):
                write_frame(responses, make_frame(_make_in_fork(segment, sandbox, layers)))
    except BrokenPipeError:
        return 0
    except (CanaryError, ProtocolError) as error:
        sys.stderr.write(f"spillway preview worker: {error}\n")
        return 1
    return 0


def _rehearse(sandbox: Sandbox) -> dict[str, str]:
    """Make a preview here and in a confined fork; the layers of confinement in force there.

    The first loads whatever Pillow loads on first use, for a confined process cannot. Raises CanaryError if
    a preview is wrong.
    """
    segment = make_sample_segment()
    for _ in range(ROUNDS):
        _check_preview(make_preview(segment))

    def work() -> Ready:
        layers = _confine(sandbox)
        _check_preview(make_preview(segment))
        return Ready(os.getpid(), layers)

    message = start_fork(work, "rehearsal").wait_for_message()
    if not isinstance(message, Ready):
        raise CanaryError("a confined process could not make the preview of the sample segment")
    return message.sandbox


def _check_preview(jpeg: bytes) -> None:
    if read_plain_jpeg_size(jpeg) != (8, 16):
        raise CanaryError("the preview of the sample segment has the wrong size")


def _confine(sandbox: Sandbox) -> dict[str, str]:
    signal.setitimer(signal.ITIMER_PROF, _MAX_CPU_S)  # its signal kills; resource limits count whole seconds
    return sandbox.confine(PREVIEW_TIMEOUT_S, _MAX_MEMORY_BYTES)


def _make_in_fork(segment: bytes, sandbox: Sandbox, layers: dict[str, str]) -> bytes:
    """The preview that a fork makes of the segment in time, or else `NO_PREVIEW`."""

    def make_answer() -> bytes:
        return make_frame(make_preview(segment)) if _confine(sandbox) == layers else make_frame(NO_PREVIEW)

    try:
        fork = start_writing_fork(make_answer)
    except OSError as error:
        if error.errno in NO_PROCESS_ERRNOS:  # of which this process need not die
            return NO_PREVIEW
        raise
    deadline = time.monotonic() + PREVIEW_TIMEOUT_S
    poll = select.poll()
    poll.register(fork.results, select.POLLIN)
    try:
        while (seconds_left := deadline - time.monotonic()) > 0 and poll.poll(seconds_left * 1000 + 1):
            finished, jpeg = fork.read_payload()
            if finished:
                return jpeg or NO_PREVIEW
        return NO_PREVIEW
    except ProtocolError:
        return NO_PREVIEW
    finally:
        fork.kill()


if __name__ == "__main__":
    sys.exit(main())
