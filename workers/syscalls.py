"""The system calls that the process of a task gives up, by a seccomp filter made with libseccomp."""

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
    setrlimit setpriority sched_setscheduler sched_setattr ioprio_set
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset setpgid setsid
    unshare setns mount umount umount2 move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
    pivot_root chroot chdir fchdir
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr
    link linkat symlink symlinkat mknod mknodat mkdir mkdirat rename renameat renameat2
    utime utimes utimensat futimesat
    name_to_handle_at open_by_handle_at memfd_create memfd_secret
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    keyctl add_key request_key seccomp
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff
    acct quotactl quotactl_fd syslog sethostname setdomainname settimeofday
    clock_settime clock_adjtime adjtimex
    iopl ioperm modify_ldt personality vhangup nfsservctl lookup_dcookie
    fanotify_init inotify_init inotify_init1
    shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semctl mq_open mq_unlink
"""

_CLONE_THREAD = 0x00010000
_TIOCSTI = 0x5412
_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_INT = 0xFFFFFFFF
_INSTRUCTION_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)


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


def compile_filter(library: ModuleType) -> bytes:
    """The filter as a BPF program for the kernel.

    It is compiled once for all forks, because that takes longer than a small task. It is a deny list, because
    the calls of codecs and allocators differ between C libraries and processors; Landlock protects the files.
    Refused calls fail with EPERM.
    """
    filter_ = library.SyscallFilter(library.ALLOW)
    refuse = library.ERRNO(errno.EPERM)
    for name in _REFUSED.split():
        _add(library, filter_, refuse, name)
    # Codecs may start threads; a clone without this flag would start a process.
    _add(library, filter_, refuse, "clone", library.Arg(0, library.MASKED_EQ, _CLONE_THREAD, 0))
    # A filter cannot see its flags, which are behind a pointer. On ENOSYS the C library falls back to clone.
    _add(library, filter_, library.ERRNO(errno.ENOSYS), "clone3")
    # Limits may be read (the third argument is null then), not set; PR_SET_PDEATHSIG must stay as it is.
    _add(library, filter_, refuse, "prlimit64", library.Arg(2, library.NE, 0))
    _add(library, filter_, refuse, "prctl", library.Arg(0, library.MASKED_EQ, _INT, _PR_SET_PDEATHSIG))
    # The kernel takes the lower 32 bits of the command, so bits in the upper half must not hide it.
    _add(library, filter_, refuse, "ioctl", library.Arg(1, library.MASKED_EQ, _INT, _TIOCSTI))
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
    if _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(argument), 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _add(library: ModuleType, filter_: Any, action: int, name: str, *conditions: Any) -> None:
    try:
        number = library.resolve_syscall(library.Arch.NATIVE, name)
    except (OSError, ValueError):
        return  # this libseccomp is older than the call
    if number >= 0:  # negative if the architecture has no such call
        filter_.add_rule(action, number, *conditions)
