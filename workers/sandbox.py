"""The confinement of a task's process: resource limits, no_new_privs, Landlock and seccomp.

The last two are in force where the kernel and the libraries of the machine offer them.
"""

import math
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workers import landlock, process, syscalls
from workers.messages import Task

_MAX_OPEN_FILES = 32
_FILE_OVERHEAD_BYTES = 1024 * 1024
_FOLDER_RIGHTS = landlock.WRITE_FILE | landlock.MAKE_REG | landlock.TRUNCATE | landlock.REMOVE_FILE


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What confining needs, loaded once before forking; each fork then confines itself with it.

    `program` is the compiled seccomp filter; it is empty without libseccomp, and `seccomp_off` says why.
    """

    program: bytes
    seccomp_off: str

    @classmethod
    def prepare(cls) -> "Sandbox":
        """Load everything now, for a confined process cannot load anything."""
        try:
            return cls(syscalls.compile_filter(syscalls.import_binding()), "")
        except (ImportError, OSError) as error:
            return cls(b"", _off(error))

    def confine_to_task(self, task: Task) -> dict[str, str]:
        """Take from this process all that `task` does not need; returns what `confine` does."""
        # No variant has more pixels than the source may have, so this is enough for one without compression.
        largest_file = 4 * task.max_pixels + _FILE_OVERHEAD_BYTES
        files = ((Path(task.source), landlock.READ_FILE), (Path(task.folder), _FOLDER_RIGHTS))
        return self.confine(task.timeout_s, task.memory_bytes, largest_file, files)

    def confine(
        self,
        timeout_s: float,
        memory_bytes: int,
        largest_file: int = 0,
        files: Sequence[tuple[Path, int]] = (),
    ) -> dict[str, str]:
        """Leave this process, for good, these limits and these `files` (path, rights), and nothing else.

        Returns the state of each layer: one that the machine lacks is "off: reason". Raises OSError when a
        resource limit or no_new_privs cannot be set.
        """
        set_limits(timeout_s, memory_bytes, largest_file)
        layers = {"rlimits": "on"}
        process.set_no_new_privs()
        layers["no_new_privs"] = "on"
        layers["landlock"] = _apply_landlock(files)
        layers["seccomp"] = self._apply_seccomp()
        return layers

    def _apply_seccomp(self) -> str:
        if not self.program:
            return self.seccomp_off
        try:
            syscalls.install_filter(self.program)
        except OSError as error:
            return _off(error)
        return "on"


def set_limits(timeout_s: float, memory_bytes: int, largest_file: int) -> None:
    """Set this process's limits: address space, CPU time, file size, open files, and no core dump.

    `memory_bytes` comes on top of the address space that the process has already.
    """
    seconds = math.ceil(timeout_s) + 1
    _set_limit(resource.RLIMIT_AS, process.address_space_bytes() + memory_bytes)
    _set_limit(resource.RLIMIT_CPU, seconds, seconds + 1)
    _set_limit(resource.RLIMIT_FSIZE, largest_file)
    _set_limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _set_limit(resource.RLIMIT_CORE, 0)


def _set_limit(which: int, soft: int, hard: int | None = None) -> None:
    _, allowed = resource.getrlimit(which)
    hard = soft if hard is None else hard
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    resource.setrlimit(which, (soft, hard))


def _apply_landlock(files: Sequence[tuple[Path, int]]) -> str:
    try:
        landlock.restrict(files)
        return f"abi {landlock.abi_version()}"
    except OSError as error:
        return _off(error)


def _off(error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"off: {reason[:120] or type(error).__name__}"
