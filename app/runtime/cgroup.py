"""The CPUs and the memory that the container, or the machine, allows this process (cgroups v2 and v1)."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60
"""Cgroup v1 reports a number near 2**63 where no limit is set, so anything this large means none."""


def _cgroup(name: str) -> list[int]:
    """The numbers in a file of this process's cgroup; none where there is no such file or no limit."""
    try:
        return [int(word) for word in (_CGROUP / name).read_text().split()]
    except (OSError, ValueError):
        return []


def usable_cpus() -> int:
    """Whole CPUs this process may use: its affinity, and below that the quota of its cgroup (v2, v1)."""
    cpus = len(os.sched_getaffinity(0))
    limit = _cgroup("cpu.max") or [*_cgroup("cpu/cpu.cfs_quota_us"), *_cgroup("cpu/cpu.cfs_period_us")]
    if len(limit) == 2 and limit[0] > 0:
        cpus = min(cpus, max(1, limit[0] // limit[1]))
    return cpus


def memory_limit() -> int | None:
    """Bytes of memory the container allows (cgroup v2, v1), or None where it sets no limit."""
    limit = _cgroup("memory.max") or _cgroup("memory/memory.limit_in_bytes")
    return limit[0] if limit and limit[0] < _UNLIMITED else None
