"""A program that confines itself as the process of a task does, and then tries to break out.

Prints one JSON object: the layers in force, and for each attempt the name of its error, or "done".
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.imaging import create_files
from workers.messages import Task
from workers.sandbox import Sandbox

_FIOASYNC, _FIOSETOWN, _SIOCSPGRP, _FS_IOC_RESVSP = 0x5452, 0x8901, 0x8902, 0x40305828
_F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY, _F_SETPIPE_SZ = 10, 15, 1024, 1026, 1031
_MEGABYTE = struct.pack("hhiqqiI16x", 0, 0, 0, 0, 2**18, 0, 0)
"""The argument of the command that takes that much of the disk for a file."""
_HIDDEN = 1 << 32
"""A bit that the kernel does not look at in the number of a command."""


def attempts(job: Task, stranger: Path, parent: int) -> dict[str, Callable[[], Any]]:
    """By name, what a hostile image might make its process do."""
    made, folder = Path(job.folder) / "it.jpg", Path(job.folder)
    sockets = socket.socketpair()
    end = sockets[0].fileno()
    owner = struct.pack("i", parent)
    return {
        "read the upload": lambda: Path(job.source).read_bytes(),
        "write a variant": write(made),
        "read another file": lambda: stranger.read_bytes(),
        "read the settings": lambda: Path("/proc/self/environ").read_bytes(),
        "list a directory": lambda: list(stranger.parent.iterdir()),
        "write the upload": write(Path(job.source)),
        "write elsewhere": write(stranger),
        "empty a file elsewhere": lambda: os.truncate(stranger, 0),
        "empty the upload as it is read": lambda: os.open(job.source, os.O_RDONLY | os.O_TRUNC),
        "write through a link": write(folder / "door"),
        "write what is not a variant": write(folder / "note"),
        "climb out of the folder": lambda: (folder / ".." / "new").write_bytes(b"x"),
        "make a file": lambda: (folder / "it.png").touch(),
        "make many files": lambda: [(folder / f"{number}.jpg").touch() for number in range(1000)],
        "make a file without a name": lambda: os.open(folder, os.O_TMPFILE | os.O_WRONLY),
        "make a folder": lambda: (folder / "room").mkdir(),
        "remove a file": (folder / "note").unlink,
        "link a file": lambda: (folder / "link").symlink_to(stranger),
        "link the upload": lambda: os.link(job.source, folder / "it.png"),
        "rename a variant": lambda: made.rename(folder / "it.png"),
        "change rights": lambda: Path(job.source).chmod(0o777),
        "take the disk": using(made, lambda file: call("fallocate", file, 0, 0, 2**18)),
        "take the disk by a command": using(made, lambda file: fcntl.ioctl(file, _FS_IOC_RESVSP, _MEGABYTE)),
        "write all disks": lambda: call("syscall", _SYNC),
        "write a whole disk": using(made, lambda file: call("syncfs", file)),
        "wait for the disk": using(made, os.fsync),
        "open a socket": lambda: socket.socket(socket.AF_INET),
        "open a local socket": lambda: socket.socket(socket.AF_UNIX),
        "make a pair of sockets": socket.socketpair,
        "make a pipe": os.pipe,
        "start a program": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606 (is refused)
        "fork": lambda: os.fork() or os._exit(0),
        "start a thread": lambda: threading.Thread(target=lambda: None).start(),
        "start thousands of threads": start_threads,
        "signal its parent": lambda: os.kill(parent, signal.SIGUSR1),
        "signal its parent's thread": lambda: call("tgkill", parent, parent, 10),
        "have a file signal its parent": lambda: fcntl.fcntl(end, fcntl.F_SETOWN, parent),
        "have a file signal a thread": lambda: fcntl.fcntl(end, _F_SETOWN_EX, struct.pack("ii", 1, parent)),
        "choose the signal of a file": lambda: fcntl.fcntl(end, _F_SETSIG, signal.SIGUSR1),
        "choose it with a hidden bit": lambda: call("fcntl", end, _HIDDEN | _F_SETSIG, 10),
        "have signals sent": lambda: fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC),
        "have signals sent by a command": lambda: fcntl.ioctl(end, _FIOASYNC, struct.pack("i", 1)),
        "name their receiver by a command": lambda: fcntl.ioctl(end, _FIOSETOWN, owner),
        "name their receiver by another": lambda: fcntl.ioctl(end, _SIOCSPGRP, owner),
        "be told of a folder": lambda: fcntl.fcntl(end, _F_NOTIFY, 1),
        "enlarge a pipe": lambda: fcntl.fcntl(1, _F_SETPIPE_SZ, 2**20),
        "make readers wait": using(made, lambda file: fcntl.fcntl(file, _F_SETLEASE, fcntl.F_WRLCK)),
        "lock a file": using(made, lambda file: fcntl.flock(file, fcntl.LOCK_EX)),
        "choose its processor": lambda: os.sched_setaffinity(0, {0}),
        "have the processor first": lambda: os.sched_setparam(0, os.sched_param(0)),
        "have another schedule": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
        "change its priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
        "lock memory": lambda: call("mlock", ctypes.create_string_buffer(9), 9),
        "make a file in memory": lambda: os.memfd_create("x"),
        "make a timer": lambda: call("timer_create", 0, None, ctypes.byref(ctypes.c_void_p())),
        "have requests done aside": lambda: call("syscall", _IO_SETUP, 1, ctypes.byref(ctypes.c_void_p())),
        "trace its parent": lambda: call("ptrace", 16, parent, 0, 0),
        "outlive its parent": lambda: call("prctl", 1, 0, 0, 0, 0),
        "enter a namespace": lambda: call("unshare", 0x10000000),
        "open many files": lambda: [os.dup(0) for _ in range(100)],
        "write a huge file": using(made, lambda file: os.ftruncate(file, 2**40)),
        "write more than a variant has": using(made, lambda file: os.ftruncate(file, 2**22)),
        "take much memory": lambda: bytearray(2**31),
    }


_IO_SETUP, _SYNC = (206, 162) if os.uname().machine == "x86_64" else (0, 81)
_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raises OSError if it fails."""
    widened = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    if getattr(_libc, name)(*widened) < 0:
        raise OSError(ctypes.get_errno(), name)


def using(path: Path, act: Callable[[int], Any]) -> Callable[[], Any]:
    """What opens a file that exists for writing, acts on its descriptor, and closes it."""

    def attempt() -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            act(descriptor)
        finally:
            os.close(descriptor)

    return attempt


def write(path: Path) -> Callable[[], Any]:
    """What writes to a file that exists already."""
    return using(path, lambda file: os.write(file, b"x"))


def start_threads() -> None:
    """Start threads until one cannot be started, as long as there are not three thousand."""
    gate = threading.Event()
    try:
        for _ in range(3000):
            threading.Thread(target=gate.wait, daemon=True).start()
    finally:
        gate.set()


def main() -> None:
    """Confine this process, try everything, and print the report."""
    source, folder, stranger = sys.argv[1:]
    job = Task("job-1", source, folder, ("it=32",), 10**6, 20.0, 2**28)
    tries = attempts(job, Path(stranger), os.getppid())
    variants = create_files(job)
    layers = Sandbox.prepare().confine_to_task(job, variants)
    report = {}
    for name, attempt in tries.items():
        try:
            attempt()
            report[name] = "done"
        except (OSError, MemoryError, RuntimeError) as error:
            report[name] = type(error).__name__
    sys.stdout.write(json.dumps({"layers": layers, "report": report}))


if __name__ == "__main__":
    main()
