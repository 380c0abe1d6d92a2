"""The CPUs and the memory that this process may use: in a container, what its cgroup (v2 or v1) allows."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60
"""Cgroup v1 reports a number near 2**63 where no limit is set, so anything this large means none."""


def _cgroup(name: str) -> list[int]:
    """The numbers in a file of this process's cgroup; empty when there is no such file or no limit."""
    try:
        return [int(word) for word in (_CGROUP / name).read_text().split()]
    except (OSError, ValueError):
        return []


def usable_cpus() -> int:
    """How many whole CPUs this process may use, by its affinity and the quota of its cgroup; at least 1."""
    cpus = len(os.sched_getaffinity(0))
    limit = _cgroup("cpu.max") or [*_cgroup("cpu/cpu.cfs_quota_us"), *_cgroup("cpu/cpu.cfs_period_us")]
    if len(limit) == 2 and limit[0] > 0:
        cpus = min(cpus, max(1, limit[0] // limit[1]))
    return cpus


def memory_limit() -> int | None:
    """Bytes of memory that the cgroup of this process allows, or None when it sets no limit."""
    limit = _cgroup("memory.max") or _cgroup("memory/memory.limit_in_bytes")
    return limit[0] if limit and limit[0] < _UNLIMITED else None
