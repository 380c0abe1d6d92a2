"""Writes and moves files so that a crash at any moment leaves the old state or the new one, never a mixture.

A rename is atomic, but the new name is durable only once the folder that holds it has been fsynced; see
rename(2) and fsync(2). Every function here blocks and raises OSError.
"""

import os
from pathlib import Path

from app.storage.spool import write_all


def fsync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file whose bytes are durable. Its name is not, until its folder is fsynced."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file under a temporary name and rename it to `path`: readers see the old or the new content."""
    fresh = path.with_name(path.name + ".new")
    write(fresh, data, mode)
    fresh.rename(path)
    fsync(path.parent)


def move(source: Path, target: Path, folder: Path) -> None:
    """Rename into or out of `folder`, durably. If the folder cannot be fsynced, the rename is undone."""
    source.rename(target)
    try:
        fsync(folder)
    except OSError:
        target.rename(source)
        raise


def remove(path: Path) -> int:
    """Remove a file if it is there, not durably; the bytes that this freed. Raises OSError."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
