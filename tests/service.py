"""A real `spillway serve` for the tests: started on a free port in a folder of its own, and stopped again."""

import contextlib
import itertools
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx

from tests import samples
from tests.preloaded import Forked

COMMAND = str(Path(sys.executable).with_name("spillway"))
PATIENCE = 30.0
"""Seconds after which what a test waits for is not going to happen."""

SMALL = samples.jpeg(64, 48)
"""A photo that costs next to nothing."""

_numbers = itertools.count(2)
# No test speaks TLS, but a client loads every certificate authority unless it is given a context.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def fresh_address() -> str:
    """A loopback address that no test has used yet: a client with a bucket of its own."""
    number = next(_numbers)
    return f"127.{1 + number // 62_500 % 250}.{number // 250 % 250}.{1 + number % 250}"


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with no settings of the service but `settings` (lower-case names)."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPILLWAY_")}
    return inherited | {f"SPILLWAY_{name.upper()}": str(value) for name, value in settings.items()}


def run(*arguments: str, folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run the `spillway` command in `folder` until it ends, in a forked process (tests/preloaded.py)."""
    with tempfile.TemporaryFile() as errors:
        process = Forked([COMMAND, *arguments], folder, environment(**settings), errors)
        with process.stdout as output:
            try:
                written = output.read()  # ends with the process, which pytest's deadline bounds
                status = process.wait(PATIENCE)
            finally:
                process.kill()
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, status, written.decode(), errors.read().decode())


def execute(*arguments: str, folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """Execute the `spillway` command in `folder` until it ends, as a user does it."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def until(
    condition: Callable[[], Any],
    what: str,
    patience: float = PATIENCE,
    show: Callable[[], object] = lambda: "",
) -> Any:
    """Poll `condition` until it returns something true. Returns that; fails after `patience` seconds."""
    end = time.monotonic() + patience
    while not (answer := condition()):
        assert time.monotonic() < end, f"waited in vain: {what} {show()}"
        time.sleep(0.01)
    return answer


def children(pid: int) -> list[int]:
    """The process ids of the children of `pid` that have not ended: a zombie is no child any more."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return found


def _runs(pid: int, module: str) -> bool:
    with contextlib.suppress(OSError):
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes (SIGSTOP) for the length of the block; those that end meanwhile are no error."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> None:
    """Wait until a process has ended."""
    until(lambda: not is_running(pid), f"process {pid} to end")


@dataclass(frozen=True)
class Answer:
    """One HTTP answer as received; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Connection:
    """A raw client, which sends exactly the bytes that the test gives it."""

    def __init__(self, host: str, port: int, address: str | None = None) -> None:
        self.socket = socket.create_connection(
            (host, port), timeout=PATIENCE, source_address=None if address is None else (address, 0)
        )
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.socket.sendall(data)

    def head(self, line: str, *fields: str) -> None:
        """Send a request head; a Host field is added."""
        self.send("\r\n".join([f"{line} HTTP/1.1", "Host: spillway.test", *fields, "", ""]).encode())

    def answer(self, *, body: bool = True) -> Answer:
        """Read one answer, which may be an interim one (1xx). Give `body=False` after a HEAD."""
        while b"\r\n\r\n" not in self._buffer:
            assert self._more(), f"closed before an answer; came so far: {self._buffer!r}"
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        pairs = [line.split(":", 1) for line in lines]
        names = [name.lower() for name, _ in pairs]
        assert len(set(names) - {"vary"}) == len([n for n in names if n != "vary"]), f"a field twice: {names}"
        headers = {name.lower(): value.strip() for name, value in pairs}
        if not body or status in (204, 304) or status < 200:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        return Answer(status, headers, self._take(int(headers["content-length"])))

    def interim(self) -> int:
        """Read a whole interim answer. Returns its status."""
        return self.answer().status

    def is_silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing arrives within `seconds`, and nothing that arrived before is unread."""
        return not self._buffer and not select.select([self.socket], [], [], seconds)[0]

    def ends(self) -> bool:
        """Whether the server closes the connection without sending anything more."""
        while self._more():
            pass
        return not self._buffer

    def lines(self) -> Iterator[str]:
        """The lines that the server sends, as they arrive, until it closes the connection."""
        while True:
            while b"\n" not in self._buffer:
                if not self._more():
                    return
            line, self._buffer = self._buffer.split(b"\n", 1)
            yield line.decode()

    def _more(self) -> bool:
        data = self.socket.recv(65_536)
        self._buffer += data
        return bool(data)

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            assert self._more(), "closed in the middle of a body"
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            assert self._more(), "closed in the middle of a body"
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._line(), 16):
            body += self._take(size)
            self._line()
        self._line()
        return body


class Service:
    """A running service, with ways to reach it, to look at it and to end it."""

    command: tuple[str, ...] = (COMMAND,)
    """What is run to start it, in its folder: a Python script."""

    def __init__(self, folder: Path, *arguments: str, **settings: object) -> None:
        """Start the service in `folder`; returns once it is ready."""
        self.folder = folder
        self.store = folder / "data"
        self._arguments = arguments
        self._settings = settings
        self.start()

    def start(self) -> None:
        """Start the service, or start it again on the same store."""
        self._stderr = self.folder / "stderr"
        settings = {"port": 0, "workers": 1, "job_timeout": 60, **self._settings}
        with self._stderr.open("ab") as errors:
            self.process = self._launch(
                [*self.command, "serve", *self._arguments], environment(**settings), errors
            )
        self.pid = self.process.pid
        try:
            self.ready_line = self._first_line()
            address = re.search(r"http://(\[[0-9a-f:]+\]|[0-9.]+):([0-9]+)", self.ready_line)
            assert address is not None, f"no address in {self.ready_line!r}"
        except BaseException:
            self.kill()
            raise
        self.host, self.port = address[1].strip("[]"), int(address[2])
        self.url = address[0]

    def _launch(
        self, command: Sequence[str], variables: Mapping[str, str], errors: IO[bytes]
    ) -> Forked | subprocess.Popen[bytes]:
        return Forked(command, self.folder, variables, errors)

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        came, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline().decode() if came else ""
        assert line, f"no ready line; standard error says: {self.errors()}"
        return line

    def errors(self) -> str:
        """What the service has written to standard error."""
        return self._stderr.read_text()

    # --- ending it -------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit status, once the service has ended. Fails if it does not end or left a traceback."""
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end; standard error says: {self.errors()}") from None
        self._close()
        assert "Traceback" not in self.errors(), self.errors()
        return status

    def stop(self) -> int:
        """Stop the service with SIGTERM. Returns its exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill the service with SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    # --- reaching it -----------------------------------------------------------------------------------

    def client(self, address: str | None = None) -> httpx.Client:
        """An HTTP client with a new address, or the one given."""
        transport = httpx.HTTPTransport(verify=_NO_TLS, local_address=address or fresh_address())
        return httpx.Client(base_url=self.url, transport=transport, timeout=PATIENCE)

    def connect(self, address: str | None = None) -> Connection:
        """A raw connection from a new address, or the one given."""
        return Connection(self.host, self.port, address or fresh_address())

    def upload(self, data: bytes = SMALL, *, address: str | None = None, **headers: str) -> httpx.Response:
        """Upload an image as the raw body, from a new address or the one given."""
        with self.client(address) as client:
            fields = {"content-type": "image/jpeg", **headers}
            return client.post("/v1/images", content=data, headers=fields)

    def taken(self, data: bytes = SMALL, **headers: str) -> httpx.Response:
        """Upload repeatedly until it is accepted. Returns that answer.

        It is one client all the time, for many new ones would each be given a later reservation, and it comes
        back when it is told to, for its tokens may be few.
        """
        address = fresh_address()
        end = time.monotonic() + PATIENCE
        while (answer := self.upload(data, address=address, **headers)).status_code not in (201, 202):
            assert time.monotonic() < end, f"no upload was taken: {answer.text}"
            time.sleep(float(answer.headers["retry-after"]))
        return answer

    def get(self, path: str, *fields: str) -> Answer:
        """Read a path over a connection of its own."""
        with self.connect() as connection:
            connection.head(f"GET {path}", *fields)
            return connection.answer()

    # --- looking at it ---------------------------------------------------------------------------------

    def stats(self) -> Any:
        """The document of /v1/stats."""
        return self.get("/v1/stats").json()

    def settled(self) -> Any:
        """Wait until no upload is received or expected and every job has ended.

        Returns the document of /v1/stats at that moment.
        """

        def quiet() -> Any:
            stats = self.stats()
            jobs, backlog = stats["jobs"], stats["backlog"]
            under_way = jobs["accepted"] - jobs["done"] - jobs["failed"] - jobs["cancelled"]
            idle = all(worker["state"] == "idle" for worker in stats["workers"])
            expected = backlog["receiving"] or backlog["waiting"] or backlog["awaited"]
            expected = expected or stats["brownout"]["deferred"]
            still = idle and under_way <= 0 and not expected
            return stats if still and not any((self.store / "work").glob("*")) else None

        return until(quiet, "the service to settle", show=lambda: (self.stats(), self.stored()))

    def status_of(self, job_id: str) -> str:
        """The status of a job."""
        return str(self.get(f"/v1/images/{job_id}").json()["status"])

    def ended(self, job_id: str) -> Any:
        """The document of a job once it is done or has failed."""
        document = self.get(f"/v1/images/{job_id}", f"Prefer: wait={PATIENCE - 1:.0f}").json()
        assert document["status"] in ("done", "failed"), document
        return document

    def stored(self) -> set[str]:
        """The paths of all files of uploads and images in the store, relative to its root."""
        found = set()
        for part in ("spool", "work", "images"):
            for folder, _, names in os.walk(self.store / part):  # which ignores what is removed meanwhile
                found.update(str(Path(folder, name).relative_to(self.store)) for name in names)
        return found

    # --- its workers -----------------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return [pid for pid in children(self.pid) if is_running(pid) and _runs(pid, "workers")]

    def memory(self) -> int:
        """Bytes of memory of the server without its workers (VmRSS)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

    def descriptors(self) -> list[str]:
        """The open files of the server, by the names that the kernel gives them."""
        found = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found.append(str(descriptor.readlink()))
            except OSError:  # closed meanwhile
                continue
        return found

    def sockets(self) -> int:
        """The number of open sockets of the server."""
        return sum(name.startswith("socket:") for name in self.descriptors())

    def previewer(self) -> int:
        """The process id of the preview worker, once it is ready."""
        until(lambda: self.stats()["previews"]["ready"], "the preview worker")
        return next(pid for pid in children(self.pid) if is_running(pid) and _runs(pid, "workers.preview"))

    @contextlib.contextmanager
    def paused(self) -> Iterator[list[httpx.Response]]:
        """Stop the workers (SIGSTOP), each with one small job, so that whatever comes next stays queued.

        Yields the answers to those uploads. The workers continue at the end of the block.
        """
        self.settled()
        pids = self.workers()
        with stopped(pids):
            held = [self.upload() for _ in pids]
            assert [answer.status_code for answer in held] == [202] * len(pids)
            until(lambda: all(w["state"] == "busy" for w in self.stats()["workers"]), "busy workers")
            yield held


class Executed(Service):
    """A service whose command is executed, as a user does it, which takes three times as long to start."""

    def _launch(
        self, command: Sequence[str], variables: Mapping[str, str], errors: IO[bytes]
    ) -> Forked | subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )


@contextlib.contextmanager
def serving(
    folder: Path, *arguments: str, kind: type[Service] = Service, **settings: object
) -> Iterator[Service]:
    """Run a service for the length of the block. The test fails unless SIGTERM ends it with status 0."""
    service = kind(folder, *arguments, **settings)
    try:
        yield service
    except BaseException:
        service.kill()
        raise
    if service.process.poll() is None:
        assert service.stop() == 0
