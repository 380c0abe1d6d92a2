"""An exception means different failures in a decoder of an unknown file and in our encoder."""

import errno
import os
from pathlib import Path

import pytest

from workers.failures import DETAILS, JobError, decoding_failure, encoding_failure, explain
from workers.messages import REASONS, Task


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("anything"), "undecodable"),
        (OSError("broken data stream when reading image file"), "undecodable"),
        (RecursionError(), "undecodable"),
        (MemoryError(), "too-much-memory"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "too-much-memory"),
        (ValueError("Memory allocation error: std::bad_alloc"), "too-much-memory"),
        (RuntimeError("Memory allocation error: 9x9 exceeds the maximum image size 80"), "too-many-pixels"),
        (JobError("too-many-pixels"), "too-many-pixels"),
    ],
    ids=str,
)
def test_a_decoder_may_raise_anything(error: Exception, reason: str) -> None:
    """Every exception is a fault of the file, except a lack of memory."""
    assert decoding_failure(error).reason == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "full"), "no-space"),
        (OSError(errno.EDQUOT, "over quota"), "no-space"),
        (OSError(errno.EFBIG, "past the limit"), "no-space"),
        (OSError("encoder error -2 when writing image file"), "too-much-memory"),
        (MemoryError(), "too-much-memory"),
        (PermissionError(errno.EACCES, "no"), "worker-died"),
        (ValueError("a bug of ours"), "worker-died"),
        (JobError("undecodable"), "undecodable"),
    ],
    ids=str,
)
def test_an_encoder_has_sound_pixels(error: Exception, reason: str) -> None:
    """Its failure is a lack of space or memory, or our fault; it is never a fault of the file."""
    assert encoding_failure(error, "large").reason == reason


def test_a_failure_names_the_bound_and_what_can_be_done(tmp_path: Path) -> None:
    """The sentence has the limit of the task, and of a damaged file the format as which it begins."""
    source = tmp_path / "source"
    source.write_bytes(b"\xff\xd8\xff\xe0 and nothing more")
    task = Task("job", str(source), "", ("it=64",), 5_000_000, 2.5, 3 * 2**30)
    assert "begins as a JPEG" in explain("undecodable", task)
    assert "5,000,000 pixels" in explain("too-many-pixels", task)
    assert "2.5 s" in explain("too-slow", task)
    assert "3,072 MiB" in explain("too-much-memory", task)
    source.unlink()
    assert {reason: explain(reason, task) for reason in DETAILS}["undecodable"] == DETAILS["undecodable"]


def test_every_reason_has_its_sentence() -> None:
    """Each reason has a sentence of one line for people."""
    assert set(DETAILS) == set(REASONS)
    assert all(detail.endswith(".") and detail.isprintable() for detail in DETAILS.values())
