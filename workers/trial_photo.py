"""`python -m workers.trial_photo SPEC…`: measures how long a job takes on this machine.

Generates a photo of twelve megapixels, makes these variants (entries of the variants grammar) in a fork, and
prints the seconds of CPU which that took. Takes about a second, and removes its files.
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
from workers.fork import start_fork
from workers.imaging import create_files, make_variants
from workers.messages import Done, Task

SIZE = (4032, 3024)
"""Twelve megapixels."""
_PATCH = 504
_GRAIN, _MIX, _QUALITY = 24, 0.3, 88
"""With these the file has three megabytes, and decoding and scaling cost as much as for a real photo."""
_TIMEOUT_S = 60.0
_MEMORY_BYTES = 1024**3


def main() -> int:
    """Measure and print; the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that the files are removed
    load_codecs()
    with TemporaryDirectory(prefix="spillway-trial-") as name:
        folder = Path(name)
        source = folder / "source"
        make_photo().save(source, "JPEG", quality=_QUALITY)
        task = Task(
            id="trial",
            source=str(source),
            folder=name,
            variants=tuple(sys.argv[1:]),
            max_pixels=SIZE[0] * SIZE[1],
            timeout_s=_TIMEOUT_S,
            memory_bytes=_MEMORY_BYTES,
        )
        try:
            seconds = measure_cpu_s(task)
        except JobError as error:
            sys.stderr.write(f"spillway trial photo: {error.detail}\n")
            return 1
    with suppress(BrokenPipeError):  # the parent may be gone
        os.write(1, f"{seconds:.6f}\n".encode())
    return 0


def make_photo() -> Image.Image:
    """A gradient with grain."""
    gradient = Image.linear_gradient("L").resize((_PATCH, _PATCH))
    patch = Image.blend(gradient, Image.effect_noise((_PATCH, _PATCH), _GRAIN), _MIX).convert("RGB")
    picture = Image.new("RGB", SIZE)
    for left in range(0, SIZE[0], _PATCH):
        for top in range(0, SIZE[1], _PATCH):
            picture.paste(patch, (left, top))
    return picture


def measure_cpu_s(task: Task) -> float:
    """Carry out `task` in a fork; the seconds of CPU that the fork took. Raises JobError."""
    variants = create_files(task)
    fork = start_fork(lambda: make_variants(task, variants), task.id)
    message = fork.wait_for_message()
    if not isinstance(message, Done):
        raise JobError("worker-died", getattr(message, "detail", "The process of the trial photo died."))
    return fork.kill().cpu_s


if __name__ == "__main__":
    sys.exit(main())
