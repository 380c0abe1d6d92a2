"""The inspection of a worker's files: only the worker's own faults are held against it."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.storage.interface import VariantRejected
from app.storage.verify import claimed_file, pieces
from tests import samples
from workers.messages import Made

ITEM = Made(name="thumb", file="thumb.jpg", format="jpeg", width=64, height=48)
PHOTO = samples.jpeg(64, 48)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the file that the worker claims to have made."""
    (tmp_path / ITEM.file).write_bytes(PHOTO)
    return tmp_path


@contextmanager
def no_file_left() -> Iterator[None]:
    """For the length of a block this process can open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_is_opened_at_its_first_byte(folder: Path) -> None:
    """All of its bytes can be read."""
    with claimed_file(folder, ITEM) as descriptor:
        assert b"".join(pieces(descriptor)) == PHOTO


def test_a_link_is_rejected(folder: Path) -> None:
    """Even one that leads to a proper image."""
    (folder / ITEM.file).rename(folder / "other")
    (folder / ITEM.file).symlink_to(folder / "other")
    with pytest.raises(VariantRejected), claimed_file(folder, ITEM):
        pass


def test_a_second_name_is_rejected(folder: Path) -> None:
    """The worker could go on writing to the file by its other name."""
    (folder / "other").hardlink_to(folder / ITEM.file)
    with pytest.raises(VariantRejected), claimed_file(folder, ITEM):
        pass


def test_a_missing_file_is_rejected(tmp_path: Path) -> None:
    """The worker claims a file that it did not write."""
    with pytest.raises(VariantRejected), claimed_file(tmp_path, ITEM):
        pass


def test_a_pipe_is_rejected(tmp_path: Path) -> None:
    """Without waiting for a writer at its other end."""
    os.mkfifo(tmp_path / ITEM.file)
    with pytest.raises(VariantRejected), claimed_file(tmp_path, ITEM):
        pass


def test_another_format_is_rejected(folder: Path) -> None:
    """It is recognised by its first bytes."""
    (folder / ITEM.file).write_bytes(samples.png(64, 48))
    with pytest.raises(VariantRejected), claimed_file(folder, ITEM):
        pass


def test_a_lack_of_descriptors_rejects_nothing(folder: Path) -> None:
    """This process cannot look at the file, for which the worker is not to blame."""
    with no_file_left(), pytest.raises(OSError, match="Too many open files"), claimed_file(folder, ITEM):
        pass
