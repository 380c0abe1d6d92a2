"""What the tests of the cluster run: a NATS server on loopback, and workers without HTTP."""

import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.service import COMMAND, children, environment, gone, is_running, until
from tests.storage.servers import free_port


class NatsServer:
    """A real server that keeps its streams in a folder, whatever is done to it."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` go to its command line."""
        self._folder = folder
        self._options = options
        self._port = free_port()
        self._starts = 0
        self.url = f"nats://127.0.0.1:{self._port}"

    def start(self, *, wait: bool = True) -> None:
        """Start it (again, on what it kept) and return once it is ready, unless that takes another one."""
        where = ("-a", "127.0.0.1", "-p", str(self._port), "-sd", str(self._folder / "jetstream"))
        with (self._folder / "nats").open("ab") as output:
            self._process = subprocess.Popen(
                ["nats-server", "-js", *where, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._starts += 1
        said = self._folder / "nats"
        if wait:
            until(lambda: said.read_text().count("Server is ready") == self._starts, "nats-server")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def hang(self) -> None:
        """From now on it takes bytes and never answers."""
        self._process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self._process.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "nats-server to stand still")

    def resume(self) -> None:
        """It answers again."""
        self._process.send_signal(signal.SIGCONT)

    def die(self) -> None:
        """Give it no time at all."""
        self._process.kill()
        self._process.wait()
        gone(self._process.pid)

    def stop(self) -> None:
        """End it, if it runs."""
        self._process.kill()
        self._process.wait()


class Hand:
    """A running `spillway worker`."""

    def __init__(self, folder: Path, **settings: object) -> None:
        """Start it and return once it takes jobs."""
        self._errors = folder / "worker-errors"
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [COMMAND, "worker"],
                cwd=folder,
                env=environment(**{"workers": 1, "job_timeout": 60, **settings}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        assert line.startswith("Spillway worker is ready"), self.errors()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def child(self) -> int:
        """The process that decodes."""
        return next(pid for pid in children(self.process.pid) if is_running(pid))

    def errors(self) -> str:
        """What it has written to standard error."""
        return self._errors.read_text()

    def finished(self) -> int:
        """Its exit status, once it has done what it had."""
        status = self.process.wait(30)
        assert "Traceback" not in self.errors(), self.errors()
        return status

    def kill(self) -> None:
        """Give it no time at all."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
