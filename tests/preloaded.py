"""Processes that run a Python script of the service, forked from one process that has loaded the service.

Loading takes two thirds of the CPU time until a service is ready, and the tests start some hundreds. What
runs is the script itself (runpy), with arguments, folder, environment and standard streams of its own. It
inherits nothing else: a test that starts it in a namespace or under limits of its own has to execute it.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).parents[1]
_MAX_REQUEST = 1 << 20
_NUMBER = struct.Struct("i")
_LOADED = (
    "app.commands",
    "app.main",
    "app.server.uvicorn_server",
    "app.cluster.worker",
    "app.storage.s3.store",
)


class Forked:
    """A process that runs a Python script, with the part of `subprocess.Popen` that the tests need."""

    def __init__(
        self, argv: Sequence[str], folder: Path, environment: Mapping[str, str], errors: IO[bytes]
    ) -> None:
        """Run the script `argv[0]` in `folder`; its standard output is `stdout`."""
        request = json.dumps([list(argv), str(folder), dict(environment)]).encode()
        reading, writing = os.pipe()
        told, telling = os.pipe()
        try:
            socket.send_fds(_server(), [request], [writing, errors.fileno(), telling])
        finally:
            os.close(writing)
            os.close(telling)
        self.stdout = os.fdopen(reading, "rb")
        self._told = os.fdopen(told, "rb", buffering=0)
        self.pid = self._number()
        self.returncode: int | None = None

    def _number(self) -> int:
        """The next number that the process's keeper tells."""
        return int(_NUMBER.unpack(self._told.read(_NUMBER.size))[0])

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, for so many seconds, and return the exit status.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = self._number()
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def _server() -> socket.socket:
    """The socket to this process's fork server, which ends when the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen([sys.executable, "-m", __name__], cwd=_ROOT, stdin=theirs)

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours


def main() -> None:
    """Serve the socket that is standard input until it is closed; in a forked process, run its script."""
    for name in _LOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a keeper
    control = socket.socket(fileno=os.dup(0))
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, _MAX_REQUEST, 3)
        if not request:
            return
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    control.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _keep(descriptors)
    streams = (os.open(os.devnull, os.O_RDONLY), *descriptors[:2])
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv, folder, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    runpy.run_path(sys.argv[0], run_name="__main__")


def _keep(descriptors: Sequence[int]) -> None:
    """Fork, and tell the new process's id and, after its end, its exit status. Returns in the new process."""
    *streams, telling = descriptors
    pid = os.fork()
    if pid == 0:
        os.close(telling)
        return
    for descriptor in streams:
        os.close(descriptor)
    os.write(telling, _NUMBER.pack(pid))
    _, status = os.waitpid(pid, 0)
    os.write(telling, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


if __name__ == "__main__":
    main()
