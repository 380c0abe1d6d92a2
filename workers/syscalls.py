"""The system calls that the process of a task gives up, by a seccomp filter made with libseccomp."""

import contextlib
import ctypes
import errno
import os
from types import ModuleType
from typing import Any

_REFUSED = """
    socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg
    execve execveat fork vfork
    ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp
    kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal pidfd_getfd
    setrlimit setpriority nice ioprio_set
    sched_setscheduler sched_setparam sched_setattr sched_setaffinity
    migrate_pages move_pages mbind set_mempolicy set_mempolicy_home_node
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset setpgid setsid
    unshare setns mount umount umount2 move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick
    mount_setattr pivot_root chroot chdir fchdir
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat
    setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr
    creat truncate truncate64 unlink unlinkat rmdir
    link linkat symlink symlinkat mknod mknodat mkdir mkdirat rename renameat renameat2
    utime utimes utimensat futimesat
    fallocate sync syncfs sync_file_range sync_file_range2 fsync fdatasync msync flock
    name_to_handle_at open_by_handle_at memfd_create memfd_secret
    mlock mlock2 mlockall
    pipe pipe2 splice tee vmsplice
    epoll_create epoll_create1 eventfd eventfd2 signalfd signalfd4 timerfd_create timer_create
    io_setup io_submit io_uring_setup io_uring_enter io_uring_register
    bpf perf_event_open userfaultfd
    keyctl add_key request_key seccomp
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff
    acct quotactl quotactl_fd syslog sethostname setdomainname settimeofday stime
    clock_settime clock_adjtime adjtimex
    iopl ioperm modify_ldt personality vhangup nfsservctl lookup_dcookie uselib ustat
    fanotify_init inotify_init inotify_init1
    shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semtimedop semctl mq_open mq_unlink
"""
"""They reach other processes or files, or kernel memory that is counted for the user or the machine."""

_NOT_THERE = "clone3 openat2"
"""Calls whose flags a filter cannot see, since they are behind a pointer; callers know an older one."""

_CLONE_THREAD = 0x00010000
_PR_SET_PDEATHSIG = 1
_F_SETFL, _F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY = 4, 8, 10, 15, 1024, 1026
_F_SETPIPE_SZ = 1031
_SIGNALLING_OR_LEASING = (_F_SETFL, _F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY)
"""Commands of fcntl(2) by which a file sends signals to a process, or makes others wait to open it."""
_O_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY
_REFUSED_FLAGS = (
    (os.O_CREAT, os.O_CREAT),
    (_O_TMPFILE, _O_TMPFILE),
    (os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC | os.O_RDONLY),
)
"""Flags of open(2), as a mask and a value, that create a file, or empty one that can only be read."""
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_OPTIMIZE_AS_TREE = 2
_INT = 0xFFFFFFFF
_INSTRUCTION_BYTES = 8

_prctl = ctypes.CDLL(None, use_errno=True).prctl


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def import_binding() -> ModuleType:
    """Import the binding of libseccomp; raises ImportError if it or the library itself is missing."""
    try:
        import pyseccomp
    except Exception as error:  # the binding raises RuntimeError when the library itself is missing
        raise ImportError(str(error)) from error
    module: ModuleType = pyseccomp
    return module


def compile_filter(library: ModuleType, *, threads: bool = False) -> bytes:
    """The filter as a BPF program for the kernel; with `threads` a process may start threads.

    It is compiled once for all forks, because that takes longer than a small task. It is a deny list, because
    the calls of codecs and allocators differ between C libraries and processors; Landlock protects the files.
    Refused calls fail with EPERM.
    """
    filter_ = library.SyscallFilter(library.ALLOW)
    with contextlib.suppress(OSError, ValueError):  # libseccomp before 2.5 tests one call after another
        filter_.set_attr(library.Attr.CTL_OPTIMIZE, _OPTIMIZE_AS_TREE)
    refuse = library.ERRNO(errno.EPERM)
    for name in _REFUSED.split():
        _add(library, filter_, refuse, name)
    for name in _NOT_THERE.split():
        _add(library, filter_, library.ERRNO(errno.ENOSYS), name)
    if threads:  # a clone without this flag would start a process
        _add(library, filter_, refuse, "clone", library.Arg(0, library.MASKED_EQ, _CLONE_THREAD, 0))
    else:
        _add(library, filter_, refuse, "clone")
    # Limits may be read (the third argument is null then), not set; PR_SET_PDEATHSIG must stay as it is.
    _add(library, filter_, refuse, "prlimit64", library.Arg(2, library.NE, 0))
    # The kernel takes the lower 32 bits of such arguments, so bits in the upper half must not hide anything.
    _add(library, filter_, refuse, "prctl", library.Arg(0, library.MASKED_EQ, _INT, _PR_SET_PDEATHSIG))
    for command in _SIGNALLING_OR_LEASING:
        _add(library, filter_, refuse, "fcntl", library.Arg(1, library.MASKED_EQ, _INT, command))
    _add(library, filter_, refuse, "fcntl", library.Arg(1, library.GE, _F_SETPIPE_SZ))  # and all newer ones
    for mask, flags in _REFUSED_FLAGS:
        _add(library, filter_, refuse, "open", library.Arg(1, library.MASKED_EQ, mask, flags))
        _add(library, filter_, refuse, "openat", library.Arg(2, library.MASKED_EQ, mask, flags))
    # Nothing that a task opens is a device, but some commands send signals, lock or allocate (FIOASYNC,
    # FS_IOC_RESVSP). The error is that of a file that knows no command.
    _add(library, filter_, library.ERRNO(errno.ENOTTY), "ioctl")
    reading, writing = os.pipe()  # its buffer holds more than the few kilobytes of a filter
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
        filter_.export_bpf(sink)
        sink.close()
        return source.read()


def install_filter(program: bytes) -> None:
    """Install a compiled filter in this process, for good; raises OSError.

    The process must have set no_new_privs.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    argument = _Program(len(program) // _INSTRUCTION_BYTES, ctypes.addressof(instructions))
    if _prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(argument), 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _add(library: ModuleType, filter_: Any, action: int, name: str, *conditions: Any) -> None:
    try:
        number = library.resolve_syscall(library.Arch.NATIVE, name)
    except (OSError, ValueError):
        return  # this libseccomp is older than the call
    if number >= 0:  # negative if the architecture has no such call
        filter_.add_rule(action, number, *conditions)
