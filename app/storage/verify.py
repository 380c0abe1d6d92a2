"""Inspects the files that a worker wrote, without believing anything that it says about them."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.job import MadeVariant, stand_in_file
from app.storage.interface import VariantRejected
from workers.formats import is_format
from workers.messages import Made

_MAGIC_BYTES = 32
_PIECE_BYTES = 2**20
_NOT_THE_WORKERS_FAULT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
"""Errors of this process or of the machine, which no worker can bring about and which pass."""


@contextmanager
def claimed_file(folder: Path, made: Made) -> Iterator[int]:
    """Open the file that a worker claims to have made: its descriptor, at the first byte. Blocking.

    The process that wrote the folder may have been taken over by the image that it decoded. So no link is
    followed (O_NOFOLLOW), a named pipe does not block (O_NONBLOCK), and a file is taken only when it is a
    regular file with a single name and begins as its format does.

    Raises:
        VariantRejected: it is missing, or not what the worker says.
        OSError: it cannot be looked at now, for which the worker is not to blame.
    """
    try:
        descriptor = os.open(folder / made.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NOT_THE_WORKERS_FAULT:
            raise
        raise VariantRejected(f"{made.name}: {os.strerror(error.errno or 0)}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise VariantRejected(f"{made.name}: not a plain file")
        if not is_format(made.format, os.pread(descriptor, _MAGIC_BYTES, 0)):
            raise VariantRejected(f"{made.name}: not a {made.format}")
        yield descriptor
    finally:
        os.close(descriptor)


def pieces(descriptor: int) -> Iterator[bytes]:
    """What is left of a file, in pieces of up to 1 MiB. Blocking. Raises OSError."""
    while piece := os.read(descriptor, _PIECE_BYTES):
        yield piece


def made_variant(made: Made, size: int, digest: str) -> MadeVariant:
    """The variant to put on record; `size` in bytes and SHA-256 `digest` are those of the inspected bytes."""
    file = stand_in_file(made.name, made.format) if made.provisional else made.file
    return MadeVariant(file, made.width, made.height, size, made.format, digest, made.provisional)
