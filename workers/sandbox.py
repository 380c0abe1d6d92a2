"""The confinement of a job: limits, no new privileges, Landlock and seccomp, each where the kernel has it."""

import math
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workers import landlock, process, syscalls
from workers.messages import Task

_OPEN_FILES = 32
_FILE_OVERHEAD = 1024 * 1024
_FOLDER_RIGHTS = landlock.WRITE_FILE | landlock.MAKE_REG | landlock.TRUNCATE | landlock.REMOVE_FILE


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What confining needs, loaded once by the warm child; its forks confine themselves with it."""

    program: bytes
    seccomp_off: str

    @classmethod
    def prepared(cls) -> "Sandbox":
        """Load what confining needs: a confined process can load nothing."""
        try:
            return cls(syscalls.compiled(syscalls.load_library()), "")
        except (ImportError, OSError) as error:
            return cls(b"", _off(error))

    def confine(self, job: Task) -> dict[str, str]:
        """Take from this process all that `job` does not need, as `seal` does."""
        # No variant is larger than the source, so none takes more than its pixels uncompressed.
        largest_file = 4 * job.max_pixels + _FILE_OVERHEAD
        files = ((Path(job.source), landlock.READ_FILE), (Path(job.folder), _FOLDER_RIGHTS))
        return self.seal(job.timeout_s, job.memory_bytes, largest_file, files)

    def seal(
        self,
        timeout_s: float,
        memory_bytes: int,
        largest_file: int = 0,
        files: Sequence[tuple[Path, int]] = (),
    ) -> dict[str, str]:
        """Leave this process, for good, these limits and these `files` (path, rights), and nothing else.

        Answers what is in force, by layer; one that the machine lacks is "off: reason". Raises OSError when
        a limit cannot be set at all.
        """
        limit(timeout_s, memory_bytes, largest_file)
        layers = {"rlimits": "on"}
        process.renounce_privileges()
        layers["no_new_privs"] = "on"
        layers["landlock"] = _landlocked(files)
        layers["seccomp"] = self._filtered()
        return layers

    def _filtered(self) -> str:
        if not self.program:
            return self.seccomp_off
        try:
            syscalls.enforce(self.program)
        except OSError as error:
            return _off(error)
        return "on"


def limit(timeout_s: float, memory_bytes: int, largest_file: int) -> None:
    """Set this process's limits: address space, CPU time, file size, open files, no core dump."""
    seconds = math.ceil(timeout_s) + 1
    _set(resource.RLIMIT_AS, process.address_space() + memory_bytes)
    _set(resource.RLIMIT_CPU, seconds, seconds + 1)
    _set(resource.RLIMIT_FSIZE, largest_file)
    _set(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _set(resource.RLIMIT_CORE, 0)


def _set(which: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(which)
    hard = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(which, (soft, hard))


def _landlocked(files: Sequence[tuple[Path, int]]) -> str:
    try:
        landlock.restrict(files)
        return f"abi {landlock.abi()}"
    except OSError as error:
        return _off(error)


def _off(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"off: {words[:120] or type(error).__name__}"
