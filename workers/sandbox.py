"""The confinement of a task's process: resource limits, no_new_privs, Landlock and seccomp.

The last two are in force where the kernel and the libraries of the machine offer them.
"""

import math
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from workers import landlock, process, syscalls
from workers.encode import file_name
from workers.messages import Task
from workers.shapes import box_of
from workers.variants import Variant

_MAX_OPEN_FILES = 32
_FILE_OVERHEAD_BYTES = 1024 * 1024
_VARIANT_RIGHTS = landlock.WRITE_FILE | landlock.TRUNCATE


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What confining needs, loaded once before forking; each fork then confines itself with it.

    `program` is the compiled seccomp filter; it is empty without libseccomp, and `seccomp_off` says why.
    `threads` says whether a codec needs them; otherwise a confined process can start none.
    """

    program: bytes
    seccomp_off: str = ""
    threads: bool = False

    @classmethod
    def prepare(cls, *, threads: bool = False) -> "Sandbox":
        """Load everything now, for a confined process cannot load anything."""
        try:
            program = syscalls.compile_filter(syscalls.import_binding(), threads=threads)
        except (ImportError, OSError) as error:
            return cls(b"", _off(error), threads=threads)
        return cls(program, threads=threads)

    def confine_to_task(self, task: Task, variants: Sequence[Variant]) -> dict[str, str]:
        """Take from this process all that `task` does not need; returns what `confine` does.

        It can read the upload and write the files of `variants`, which exist already, and nothing else: no
        file can be created or removed, so that there is a bound on the space and the files that it takes.
        """
        files = [(task.source, landlock.READ_FILE)]
        files += [(f"{task.folder}/{file_name(variant)}", _VARIANT_RIGHTS) for variant in variants]
        return self.confine(task.timeout_s, task.memory_bytes, largest_file(task, variants), files)

    def confine(
        self,
        timeout_s: float,
        memory_bytes: int,
        largest_file: int = 0,
        files: Sequence[tuple[str, int]] = (),
    ) -> dict[str, str]:
        """Leave this process, for good, these limits and these `files` (path, rights), and nothing else.

        Returns the state of each layer: one that the machine lacks is "off: reason". Raises OSError when a
        resource limit or no_new_privs cannot be set.
        """
        set_limits(timeout_s, memory_bytes, largest_file)
        if not self.threads:
            # Only root is exempt. The number counts all processes of the user, so no other one would do.
            _set_limit(resource.RLIMIT_NPROC, 0)
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
        return "on, but for threads" if self.threads else "on"


def largest_file(task: Task, variants: Sequence[Variant]) -> int:
    """The most bytes that the largest of `variants` can have, without compression and with headers.

    No variant has more pixels than the source may have, and a still one no more than fit into its box. An
    encoder can make a small picture of noise larger than its pixels, so that is allowed twice as much.
    """
    pixels = [
        4 * task.max_pixels if variant.animated else min(4 * task.max_pixels, 8 * math.prod(box_of(variant)))
        for variant in variants
    ]
    return max(pixels, default=0) + _FILE_OVERHEAD_BYTES


def set_limits(timeout_s: float, memory_bytes: int, largest_file: int) -> None:
    """Set this process's limits: address space, CPU time, file size, open files, core dump, locked memory.

    `memory_bytes` comes on top of the address space that the process has already.
    """
    seconds = math.ceil(timeout_s) + 1
    _set_limit(resource.RLIMIT_AS, process.address_space_bytes() + memory_bytes)
    _set_limit(resource.RLIMIT_CPU, seconds, seconds + 1)
    _set_limit(resource.RLIMIT_FSIZE, largest_file)
    _set_limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_MEMLOCK, 0)


def _set_limit(which: int, soft: int, hard: int | None = None) -> None:
    _, allowed = resource.getrlimit(which)
    hard = soft if hard is None else hard
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    resource.setrlimit(which, (soft, hard))


def _apply_landlock(files: Sequence[tuple[str, int]]) -> str:
    try:
        return f"abi {landlock.restrict(files)}"
    except OSError as error:
        return _off(error)


def _off(error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"off: {reason[:120] or type(error).__name__}"
