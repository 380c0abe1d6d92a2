"""The processes of the cluster tests: a NATS server on loopback, and `spillway worker`."""

import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.preloaded import Forked
from tests.service import COMMAND, PATIENCE, children, environment, free_port, gone, is_running, until


class NatsServer:
    """A real server. It keeps its streams in a folder, so it can be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` are added to its command line."""
        self._folder = folder
        self._options = options
        self._port = free_port()
        self._starts = 0
        self.url = f"nats://127.0.0.1:{self._port}"

    def start(self, *, wait: bool = True) -> None:
        """Start it, with the streams of an earlier run, and return when it is ready.

        Without `wait`, return at once: a server of a NATS cluster is not ready before the others run.
        """
        options = ("-a", "127.0.0.1", "-p", str(self._port), "-sd", str(self._folder / "jetstream"))
        with (self._folder / "nats").open("ab") as output:
            self._process = subprocess.Popen(
                ["nats-server", "-js", *options, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._starts += 1
        output_file = self._folder / "nats"
        if wait:
            until(lambda: output_file.read_text().count("Server is ready") == self._starts, "nats-server")

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def suspend(self) -> None:
        """Stop it by SIGSTOP: its connections stay open, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self._process.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "nats-server to stop")

    def resume(self) -> None:
        """Let a suspended server continue."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it by SIGKILL and wait for its end."""
        self._process.kill()
        self._process.wait()
        gone(self._process.pid)

    def stop(self) -> None:
        """Kill it, if it runs."""
        self._process.kill()
        self._process.wait()


class SpillwayWorker:
    """A running `spillway worker`."""

    def __init__(self, folder: Path, **settings: object) -> None:
        """Start it with these settings (lower-case names) and return when it takes jobs."""
        self._errors = folder / "worker-errors"
        with self._errors.open("ab") as errors:
            variables = environment(**{"workers": 1, "job_timeout": 60, **settings})
            self.process = Forked([COMMAND, "worker"], folder, variables, errors)
        line = self.process.stdout.readline().decode()
        assert "Spillway worker is ready" in line, self.errors()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def child(self) -> int:
        """The id of the child process that decodes images."""
        return next(pid for pid in children(self.process.pid) if is_running(pid))

    def errors(self) -> str:
        """Its standard error so far."""
        return self._errors.read_text()

    def exit_status(self) -> int:
        """Wait for its end and return its exit status. Fails when it wrote a traceback."""
        status = self.process.wait(PATIENCE)
        assert "Traceback" not in self.errors(), self.errors()
        return status

    def kill(self) -> None:
        """Kill it by SIGKILL, if it runs."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
