"""The inspection of what a worker left: nothing of it is believed."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from app.job import MadeVariant
from app.storage.interface import VariantRejected
from workers.formats import has_magic
from workers.messages import Made

_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
"""What this process, or the machine, lacks: no worker can bring it about, and it passes."""


@contextmanager
def plain_file(folder: Path, item: Made) -> Iterator[BufferedReader]:
    """Open what a worker claims to have made, at its beginning.

    The folder was written by a process that may be an attacker's by now: no links are followed, and what is
    no plain file with the first bytes of its format is not taken.

    Raises:
        VariantRejected: it is not there, or not what it is said to be.
        OSError: it cannot be looked at now, for which the worker is not to blame.
    """
    try:
        descriptor = os.open(folder / item.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _OURS:
            raise
        raise VariantRejected(f"{item.name}: {os.strerror(error.errno or 0)}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise VariantRejected(f"{item.name}: not a plain file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            if not has_magic(item.format, file.read(32)):
                raise VariantRejected(f"{item.name}: not a {item.format}")
            file.seek(0)
            yield file
    finally:
        os.close(descriptor)


def variant_of(item: Made, size: int, digest: str) -> MadeVariant:
    """What is kept of a claim; `size` in bytes and `digest` (SHA-256) are those of the bytes inspected."""
    return MadeVariant(item.file, item.width, item.height, size, item.format, digest)
