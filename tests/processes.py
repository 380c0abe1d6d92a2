"""A limit on the processes of others: whoever is put under it cannot fork until it is lifted."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.service import until

_GROUPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
"""Where control groups of processes are: of version 1, and of version 2."""


@contextmanager
def unable_to_fork(*pids: int) -> Iterator[None]:
    """For the length of the block fork(2) fails with EAGAIN in these processes.

    Root, whom RLIMIT_NPROC does not bind, is put into a control group that has no room for one process more.
    """
    if os.geteuid():
        limits = [resource.prlimit(pid, resource.RLIMIT_NPROC) for pid in pids]
        try:
            for pid, (_, hard) in zip(pids, limits, strict=True):
                resource.prlimit(pid, resource.RLIMIT_NPROC, (1, hard))
            yield
        finally:
            for pid, limit in zip(pids, limits, strict=True):
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_NPROC, limit)
        return
    group = _make_group(len(pids))
    try:
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        (group / "pids.max").write_text("max")
        until(lambda: _is_emptied(group), "the group to be empty")
        group.rmdir()


def _make_group(room: int) -> Path:
    for root in _GROUPS:
        group = root / f"spillway-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / "pids.max").write_text(str(room))
        except OSError:
            with suppress(OSError):
                group.rmdir()
        else:
            return group
    pytest.skip("no control group of processes can be made here")


def _is_emptied(group: Path) -> bool:
    """Move what is in a group out of it; whether nothing was left."""
    pids = (group / "cgroup.procs").read_text().split()
    for pid in pids:
        with suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    return not pids
