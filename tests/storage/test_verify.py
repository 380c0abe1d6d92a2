"""What a worker left is looked at: what is not as claimed is rejected, what is our own fault is not."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.storage.interface import VariantRejected
from app.storage.verify import claimed_file
from tests import samples
from workers.messages import Made

ITEM = Made(name="thumb", file="thumb.jpg", format="jpeg", width=64, height=48)
PHOTO = samples.jpeg(64, 48)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what was claimed in it."""
    (tmp_path / ITEM.file).write_bytes(PHOTO)
    return tmp_path


@contextmanager
def no_file_left() -> Iterator[None]:
    """This process may open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_was_claimed_is_opened_at_its_beginning(folder: Path) -> None:
    """All of its bytes can be read."""
    with claimed_file(folder, ITEM) as file:
        assert file.read() == PHOTO


def test_a_link_is_rejected(folder: Path) -> None:
    """Whatever it leads to."""
    (folder / ITEM.file).rename(folder / "other")
    (folder / ITEM.file).symlink_to(folder / "other")
    with pytest.raises(VariantRejected), claimed_file(folder, ITEM):
        pass


def test_a_second_name_is_rejected(folder: Path) -> None:
    """The worker could go on writing through it."""
    (folder / "other").hardlink_to(folder / ITEM.file)
    with pytest.raises(VariantRejected), claimed_file(folder, ITEM):
        pass


def test_what_is_not_there_is_rejected(tmp_path: Path) -> None:
    """It was claimed all the same."""
    with pytest.raises(VariantRejected), claimed_file(tmp_path, ITEM):
        pass


def test_a_pipe_is_rejected(tmp_path: Path) -> None:
    """Without waiting for anybody to write into it."""
    os.mkfifo(tmp_path / ITEM.file)
    with pytest.raises(VariantRejected), claimed_file(tmp_path, ITEM):
        pass


def test_another_format_is_rejected(folder: Path) -> None:
    """By its first bytes."""
    (folder / ITEM.file).write_bytes(samples.png(64, 48))
    with pytest.raises(VariantRejected), claimed_file(folder, ITEM):
        pass


def test_what_this_process_lacks_rejects_nothing(folder: Path) -> None:
    """Without a descriptor left it cannot be looked at; the worker is not to blame for that."""
    with no_file_left(), pytest.raises(OSError, match="Too many open files"), claimed_file(folder, ITEM):
        pass
