"""The disk: files and folders written and moved so that a crash at any moment leaves the old or the new."""

import os
from pathlib import Path


def fsync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file; its bytes are durable, its name is not before its folder is."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_durably(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file beside `path` and rename it there, so that a reader sees the old or the new one."""
    fresh = path.with_name(path.name + ".new")
    write(fresh, data, mode)
    fresh.rename(path)
    fsync(path.parent)


def move_durably(source: Path, target: Path, folder: Path) -> None:
    """Rename into or out of `folder`; when that cannot be made durable, nothing was moved. Raises OSError."""
    source.rename(target)
    try:
        fsync(folder)
    except OSError:
        target.rename(source)
        raise
