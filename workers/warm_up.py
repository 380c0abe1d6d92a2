"""Does the work of a job before the first one, so that the process of each job finds it prepared.

CPython specialises code that runs often (PEP 659) and remembers what it has looked up, and modules keep what
they make on first use. In a fork of a process that has done no work all that would be done anew for each job,
on copies of the memory pages that it is kept in.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from workers.imaging import create_files, make_variants
from workers.messages import Task
from workers.sample_photo import ROUNDS, make_sample_photo

_VARIANTS = ("a=16", "b=12")
_TIMEOUT_S, _MEMORY_BYTES = 30.0, 2**29


def warm_up() -> None:
    """Make variants of a small photo in this process, of its picture and of its thumbnail.

    Raises JobError if that fails, and OSError if there can be no temporary files.
    """
    with TemporaryDirectory(prefix="spillway-") as folder:
        source = Path(folder) / "source"
        source.write_bytes(make_sample_photo())
        for number in range(ROUNDS):
            task = Task(
                id="warm-up",
                source=str(source),
                folder=folder,
                variants=_VARIANTS,
                max_pixels=10**6,
                timeout_s=_TIMEOUT_S,
                memory_bytes=_MEMORY_BYTES,
                stand_in=number % 2 == 0,
            )
            make_variants(task, create_files(task)).to_frame()
