"""`python -m workers.trial_photo SPEC…`: how long a job would take here, by a photo that is made for it.

Prints the seconds of CPU that these variants (entries of the grammar) of a photo as telephones make them cost
a process of its own. Its files are gone when it ends, which it does within a second or so.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from workers.codecs import load_codecs
from workers.failures import JobError
from workers.fork import forked
from workers.imaging import make
from workers.messages import Done, Task

SIZE = (4032, 3024)
"""Twelve megapixels."""
_PATCH = 504
_GRAIN, _MIX, _QUALITY = 24, 0.3, 88
"""These make three megabytes of it, and decoding and scaling cost what they do for a photo of the world."""
_TIMEOUT_S = 60.0
_MEMORY = 1024**3


def main() -> int:
    """Measure and print; answers the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that its files go with it
    load_codecs()
    with TemporaryDirectory(prefix="spillway-specimen-") as name:
        folder = Path(name)
        source = folder / "source"
        photo().save(source, "JPEG", quality=_QUALITY)
        job = Task("specimen", str(source), name, tuple(sys.argv[1:]), SIZE[0] * SIZE[1], _TIMEOUT_S, _MEMORY)
        try:
            seconds = cost(job)
        except JobError as error:
            sys.stderr.write(f"spillway specimen: {error.detail}\n")
            return 1
    with suppress(BrokenPipeError):  # who asked may be gone, and nobody is left to be told of that
        os.write(1, f"{seconds:.6f}\n".encode())
    return 0


def photo() -> Image.Image:
    """A picture of light and grain."""
    light = Image.linear_gradient("L").resize((_PATCH, _PATCH))
    patch = Image.blend(light, Image.effect_noise((_PATCH, _PATCH), _GRAIN), _MIX).convert("RGB")
    picture = Image.new("RGB", SIZE)
    for left in range(0, SIZE[0], _PATCH):
        for top in range(0, SIZE[1], _PATCH):
            picture.paste(patch, (left, top))
    return picture


def cost(job: Task) -> float:
    """Seconds of CPU of the process of `job`, from its birth to its end; raises JobError."""
    fork = forked(lambda: make(job), job.id)
    message = fork.message()
    if not isinstance(message, Done):
        raise JobError("worker-died", getattr(message, "detail", "The process of the specimen died."))
    return fork.end().cpu_s


if __name__ == "__main__":
    sys.exit(main())
