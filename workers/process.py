"""Settings of this process itself: when it dies, its priority, its descriptors, its rights."""

import contextlib
import ctypes
import gc
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_M_ARENA_MAX = -8
_STATM_BYTES = 256
_NICENESS = 5
"""Added to the server's: while both want a processor, a worker gets a third of the server's share."""

_libc = ctypes.CDLL(None, use_errno=True)
_call_prctl, _call_signal = _libc.prctl, _libc.signal  # looked up once, and not again in each fork


def set_up_child() -> tuple[int, int]:
    """Prepare this process to serve its parent, whose process id is the first command-line argument.

    Returns the descriptors to read requests from and to write responses to.
    """
    die_with_parent(int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid())
    # A terminal signals a whole process group, but running jobs finish while the server drains. So this
    # process ends only when its parent closes the pipe or dies.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    limit_malloc_arenas()
    return move_pipes()


def lower_priority() -> None:
    """Let the server run first: a refusal takes it half a millisecond, and should not wait for a photo.

    Where the kernel groups processes by session, the niceness of the group counts (sched(7), autogroup).
    """
    os.nice(_NICENESS)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(str(_NICENESS))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends; exits at once if that has happened already.

    The signal comes when the thread that started this process ends (prctl(2), PR_SET_PDEATHSIG), so a parent
    must start workers from a thread that lives as long as itself.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def restore_sigterm() -> None:
    """Let SIGTERM end this process; by the C library, as Python's function would look up enums first."""
    _call_signal(signal.SIGTERM.value, None)


def set_no_new_privs() -> None:
    """Set no_new_privs (prctl(2)): no program that this process executes can have more rights than it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_malloc_arenas() -> None:
    """Have malloc use one arena: each further one reserves address space that counts towards RLIMIT_AS."""
    mallopt = getattr(_libc, "mallopt", None)  # musl has neither this function nor arenas
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def settle_memory() -> None:
    """Give back what is free, and leave the rest alone: what is loaded stays, and forks share it.

    In a fork, the garbage collector would write to each of these objects, and malloc to each small block that
    is free, which copies the memory pages that they are in.
    """
    gc.collect()
    gc.freeze()
    malloc_trim = getattr(_libc, "malloc_trim", None)  # musl has none
    if malloc_trim is not None:
        malloc_trim(0)


def close_other_descriptors(*kept: int) -> None:
    """Close every descriptor of this process except `kept`."""
    low = 0
    for descriptor in sorted(kept):
        # An empty range would wrap around and close every descriptor.
        if descriptor > low:
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def move_pipes() -> tuple[int, int]:
    """Move standard input and output to other descriptors, so that no stray print or read disturbs a frame.

    Returns the new descriptors. Afterwards standard input is empty and standard output is standard error.
    """
    requests, responses = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, responses


def address_space_bytes() -> int:
    """The size of this process's address space now, in bytes."""
    # `open` would import a codec for text, in each process that is forked.
    file = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(file, _STATM_BYTES).split()[0]) * os.sysconf("SC_PAGE_SIZE")
    finally:
        os.close(file)


def _prctl(option: int, value: int) -> None:
    if _call_prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
