"""A program that confines itself as the process of a task does, and then tries to break out.

Prints one JSON object: the layers in force, and for each attempt the name of its error, or "done".
"""

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.messages import Task
from workers.sandbox import Sandbox


def attempts(job: Task, stranger: Path, parent: int) -> dict[str, Callable[[], Any]]:
    """By name, what a hostile image might make its process do."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: Any) -> None:
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return {
        "read the upload": lambda: Path(job.source).read_bytes(),
        "write a variant": lambda: (Path(job.folder) / "it.jpg").write_bytes(b"x"),
        "start a thread": lambda: threading.Thread(target=lambda: None).start(),
        "read another file": lambda: stranger.read_bytes(),
        "read the settings": lambda: Path("/proc/self/environ").read_bytes(),
        "list a directory": lambda: list(stranger.parent.iterdir()),
        "write the upload": lambda: Path(job.source).write_bytes(b"x"),
        "write elsewhere": lambda: (stranger.parent / "new").write_bytes(b"x"),
        "write through a link": lambda: (Path(job.folder) / "door").write_bytes(b"x"),
        "climb out of the folder": lambda: (Path(job.folder) / ".." / "new").write_bytes(b"x"),
        "make a folder": lambda: (Path(job.folder) / "room").mkdir(),
        "remove a file": stranger.unlink,
        "link a file": lambda: (Path(job.folder) / "link").symlink_to(stranger),
        "link the upload": lambda: os.link(job.source, Path(job.folder) / "it.png"),
        "rename a variant": lambda: (Path(job.folder) / "it.jpg").rename(stranger),
        "change rights": lambda: Path(job.source).chmod(0o777),
        "open a socket": lambda: socket.socket(socket.AF_INET),
        "open a local socket": lambda: socket.socket(socket.AF_UNIX),
        "make a pair of sockets": socket.socketpair,
        "start a program": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606 (is refused)
        "fork": lambda: os.fork() or os._exit(0),
        "signal its parent": lambda: os.kill(parent, signal.SIGUSR1),
        "signal its parent's thread": lambda: call("tgkill", parent, parent, 10),
        "trace its parent": lambda: call("ptrace", 16, parent, 0, 0),
        "outlive its parent": lambda: call("prctl", 1, 0, 0, 0, 0),
        "enter a namespace": lambda: call("unshare", 0x10000000),
        "open many files": lambda: [os.dup(0) for _ in range(100)],
        "write a huge file": lambda: os.truncate(Path(job.folder) / "it.jpg", 2**40),
        "take much memory": lambda: bytearray(2**31),
    }


def main() -> None:
    """Confine this process, try everything, and print the report."""
    source, folder, stranger = sys.argv[1:]
    job = Task("job-1", source, folder, ("it=32",), 10**6, 20.0, 2**28)
    tries = attempts(job, Path(stranger), os.getppid())
    layers = Sandbox.prepare().confine_to_task(job)
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
