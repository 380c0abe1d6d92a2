"""`python -m workers.preview [PARENT PID]`: a warm child that makes previews of photos nobody has time for.

Standard input and output carry frames: after one message that it is ready, it answers each EXIF segment
with a small JPEG of the thumbnail in it, or with `NOTHING`. Each is made by a fork of its own, confined,
without a right to any file. It ends when its standard input is closed, and with its parent.
"""

import gc
import os
import select
import signal
import struct
import sys
import time
from io import BytesIO

from PIL import ExifTags, Image

from workers import process
from workers.canary import CanaryError
from workers.colour import eight_bit, to_srgb
from workers.decode import upright
from workers.encode import bare
from workers.fork import branched, forked
from workers.frames import FrameBuffer, ProtocolError, framed, send
from workers.messages import Ready
from workers.sandbox import Sandbox
from workers.thumbnail import DEADLINE, EXIF, MAX_SIDE, bare_size

NOTHING = b"-"
"""The answer where there is no thumbnail, or none that decodes."""

_CPU_S = 0.05
"""Seconds of CPU that one may take; nearly all take a tenth of it."""
_NICE = 10
"""Previews live on what the workers leave: the jobs that were accepted come first."""
_MEMORY = 64 * 1024 * 1024
_MOST_PIXELS = 640 * 480
_QUALITY = 80
_CHUNK = 65_536
_SHORT, _LONG = 3, 4
_ORIENTATION, _OFFSET, _LENGTH = 0x0112, 0x0201, 0x0202


def preview(segment: bytes) -> bytes:
    """The thumbnail in an EXIF segment as a JPEG: upright, in sRGB, at most `MAX_SIDE`, without metadata.

    May raise anything at all for what is broken or absent.
    """
    exif = Image.Exif()
    exif.load(segment)
    directory = exif.get_ifd(ExifTags.IFD.IFD1)
    start = len(EXIF) + directory[_OFFSET]
    with Image.open(BytesIO(segment[start : start + directory[_LENGTH]]), formats=("JPEG",)) as image:
        # A thumbnail is baseline (Exif 2.32, 4.5.5): thousands of scans would only be there to cost.
        if image.width * image.height > _MOST_PIXELS or "progressive" in image.info:
            raise ValueError("no thumbnail of the usual kind")
        image.thumbnail((MAX_SIDE, MAX_SIDE), reducing_gap=1.0)
        image.load()
        picture = to_srgb(eight_bit(image), image.info)
    file = BytesIO()
    bare(upright(picture, exif.get(_ORIENTATION, 1))).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def main() -> int:
    """Serve the parent until it closes its end; answers the exit status."""
    orders, answers = process.serve_parent()
    os.nice(_NICE)
    sandbox = Sandbox.prepared()
    try:
        layers = _rehearsed(sandbox)
        gc.collect()
        gc.freeze()
        send(answers, Ready(os.getpid(), layers).to_frame())
        buffer = FrameBuffer()
        while data := os.read(orders, _CHUNK):
            for segment in buffer.feed(data):
                send(answers, framed(_made(segment, sandbox, layers)))
    except BrokenPipeError:
        return 0
    except (CanaryError, ProtocolError) as error:
        sys.stderr.write(f"spillway preview worker: {error}\n")
        return 1
    return 0


def _rehearsed(sandbox: Sandbox) -> dict[str, str]:
    """Have a fork confine itself and make a preview; what Pillow loads late is loaded before, out here."""
    segment = _sample()
    _check(preview(segment))

    def work() -> Ready:
        layers = _sealed(sandbox)
        _check(preview(segment))
        return Ready(os.getpid(), layers)

    message = forked(work, "rehearsal").message()
    if not isinstance(message, Ready):
        raise CanaryError("the confined rehearsal of a preview failed")
    return message.sandbox


def _sample() -> bytes:
    """The EXIF segment of a photo that lies on its side: two directories, then the thumbnail."""
    thumbnail = BytesIO()
    Image.linear_gradient("L").resize((16, 8)).convert("RGB").save(thumbnail, "JPEG")
    jpeg = thumbnail.getvalue()
    first = struct.pack(">2sHI HHHIHxxI", b"MM", 42, 8, 1, _ORIENTATION, _SHORT, 1, 6, 26)
    second = struct.pack(">H HHII HHII I", 2, _OFFSET, _LONG, 1, 56, _LENGTH, _LONG, 1, len(jpeg), 0)
    return EXIF + first + second + jpeg


def _check(jpeg: bytes) -> None:
    if bare_size(jpeg) != (8, 16):
        raise CanaryError("a preview of the canary came back changed")


def _sealed(sandbox: Sandbox) -> dict[str, str]:
    signal.setitimer(signal.ITIMER_PROF, _CPU_S)  # the signal kills: limits count whole seconds only
    return sandbox.seal(DEADLINE, _MEMORY)


def _made(segment: bytes, sandbox: Sandbox, layers: dict[str, str]) -> bytes:
    """What a fork makes of the segment within the deadline, or `NOTHING`."""

    def speak() -> bytes:
        return framed(preview(segment)) if _sealed(sandbox) == layers else framed(NOTHING)

    fork = branched(speak)
    deadline = time.monotonic() + DEADLINE
    poll = select.poll()
    poll.register(fork.results, select.POLLIN)
    try:
        while (left := deadline - time.monotonic()) > 0 and poll.poll(left * 1000 + 1):
            finished, jpeg = fork.hear()
            if finished:
                return jpeg or NOTHING
        return NOTHING
    except ProtocolError:
        return NOTHING
    finally:
        fork.end()


if __name__ == "__main__":
    sys.exit(main())
