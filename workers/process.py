"""What this process asks of the kernel for itself: to die with its parent, to hold no stray descriptors."""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_M_ARENA_MAX = -8
_BEHIND = 5
"""How much nicer than the server: while both want a processor, a worker gets a third of its share."""

_libc = ctypes.CDLL(None, use_errno=True)


def serve_parent() -> tuple[int, int]:
    """Become the child of the process named by the first argument: where its orders come and answers go."""
    die_with(int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid())
    # A terminal signals a whole group, and a drain lets running jobs finish: the parent's word alone ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    keep_one_arena()
    return take_pipes()


def give_way() -> None:
    """Let the server go first: a refusal takes it half a millisecond, and should not wait for a photo.

    Where the kernel shares a processor among sessions it is their niceness that counts (sched(7), autogroup).
    """
    os.nice(_BEHIND)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(str(_BEHIND))


def die_with(parent: int) -> None:
    """Have this process killed when `parent`, its parent, ends; exits at once where that has happened.

    The kernel means the thread that started it: a parent must start children from a thread that stays.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def renounce_privileges() -> None:
    """Set no_new_privs: nothing that this process starts can have more rights than it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def keep_one_arena() -> None:
    """Have the allocator use one arena: each further one reserves address space that a limit would count."""
    mallopt = getattr(_libc, "mallopt", None)  # musl has none, and no arenas
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def close_all_but(*kept: int) -> None:
    """Close every descriptor of this process except `kept`."""
    low = 0
    for descriptor in sorted(kept):
        # An empty range would wrap around and close every descriptor.
        if descriptor > low:
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def take_pipes() -> tuple[int, int]:
    """Standard input and output, kept under other numbers: a stray print or read must not touch a frame."""
    orders, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return orders, answers


def address_space() -> int:
    """Size of this process's address space now, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (no module may load here)
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
