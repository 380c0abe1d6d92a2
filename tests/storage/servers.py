"""S3 servers for the tests, on loopback: moto (quick), Ceph (a real one), and a proxy whose quota is full."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import boto3
from botocore.config import Config

from tests.service import PATIENCE, free_port, gone, until

KEY, SECRET, REGION = "tests", "not-a-secret", "us-east-1"
CEPH = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")


def missing_for_ceph() -> list[str]:
    """The programs of Ceph that are not installed here."""
    return [name for name in CEPH if shutil.which(name) is None]


class S3Server:
    """An S3 server; `gateway` is the process that answers at its endpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
        }
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start it and return once it answers."""
        self.gateway = self.launch(*self.command)
        until(self._answers, f"{self.command[0]} to answer; see {self.folder}", 60)

    @property
    def command(self) -> tuple[str, ...]:
        """The command line of the gateway."""
        raise NotImplementedError

    def launch(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a process that is ended with the server."""
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        self._running.append(process)
        return process

    def _answers(self) -> bool:
        assert self.gateway.poll() is None, (self.folder / "output").read_text()[-2000:]
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Kill all of its processes, the gateway first."""
        for process in reversed(self._running):
            process.kill()
            process.wait()

    def client(self) -> "boto3.client":
        """A client of another library, to prepare buckets and to look into them."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name=REGION,
            config=Config(retries={"total_max_attempts": 5}, connect_timeout=5, read_timeout=30),
        )

    def new_bucket(self) -> str:
        """A fresh bucket's name."""
        name = f"spill-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    # --- faults ----------------------------------------------------------------------------------------

    def hang(self) -> None:
        """From now on it accepts connections and never answers."""
        self.gateway.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It answers again."""
        self.gateway.send_signal(signal.SIGCONT)

    def die(self) -> None:
        """From now on it refuses connections. Killed hard, Ceph's next gateway waits half a minute for it."""
        self.gateway.terminate()
        self.gateway.wait()
        gone(self.gateway.pid)


class Moto(S3Server):
    """Moto: in memory, started in a second. It accepts any credentials."""

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port))


class QuotaProxy:
    """An HTTP proxy in front of an S3 server that can refuse writes as a server does whose quota is used up.

    Ceph answers 403 QuotaExceeded, MinIO 507 XMinioStorageFull.
    """

    def __init__(self, server: S3Server, status: int = 403, code: str = "QuotaExceeded") -> None:
        """`status` and `code` are those of the refusals."""
        self.full_for = ""
        """Writes of objects with this in their address are refused; "" refuses none."""
        self.refused = 0
        proxy = self
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Full</Message></Error>".encode()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.command in ("PUT", "POST") and proxy.full_for and proxy.full_for in self.path:
                    proxy.refused += 1
                    self._answer(status, {"content-type": "application/xml"}, body)
                    return
                connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
                connection.request(self.command, self.path, sent, dict(self.headers))
                answer = connection.getresponse()
                came = answer.read()
                hop = ("content-length", "transfer-encoding", "connection")
                fields = {name: value for name, value in answer.getheaders() if name.lower() not in hop}
                length = answer.headers.get("content-length") if self.command == "HEAD" else None
                self._answer(answer.status, fields, came, length)
                connection.close()

            def _answer(
                self, status: int, fields: dict[str, str], body: bytes, length: str | None = None
            ) -> None:
                self.send_response_only(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("content-length", length or str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - the base class looks for these

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.environment = server.environment | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._http.server_port}"
        }

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serve for the length of a block."""
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()


_CEPH_CONF = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {root}/keyring
run dir = {root}
admin socket = {root}/$name.asok
log file = {root}/$name.log
mon data = {root}/mon
mon allow pool size one = true
paxos propose interval = 0.05
paxos min wait = 0.01
mon max pg per osd = 1000
osd data = {root}/osd
osd objectstore = memstore
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
"""
_ROLES = ("mon.", "client.admin", "osd.0", "client.rgw")
_ANY_KEY = "AQBd3GJmAAAAABAA2iRz3kq1t4X4mFb5h1c0gQ=="  # of a cluster on loopback that lives for some tests


class Ceph(S3Server):
    """Ceph: one monitor, one OSD in memory and the gateway, started in two seconds."""

    def start(self) -> None:
        root, fsid, mon = self.folder, str(uuid.uuid4()), free_port()
        self._conf = str(root / "ceph.conf")
        Path(self._conf).write_text(_CEPH_CONF.format(fsid=fsid, mon=mon, root=root, port=self.port))
        caps = "".join(f'\tcaps {part} = "allow *"\n' for part in ("mon", "osd", "mgr"))
        keys = (f"[{role}]\n\tkey = {_ANY_KEY}\n{caps}" for role in _ROLES)
        (root / "keyring").write_text("".join(keys))
        (root / "osd").mkdir()
        monmap, osd = str(root / "monmap"), str(uuid.uuid4())
        _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon}]", monmap)
        keyring = str(root / "keyring")
        self._ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self.launch("ceph-mon", "-c", self._conf, "-i", "a", "-f")
        self._ceph("ceph", "osd", "new", osd)
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.launch("ceph-osd", "-c", self._conf, "-i", "0", "-f")
        user = ("--uid=tests", "--display-name=tests", f"--access-key={KEY}", f"--secret-key={SECRET}")
        self._ceph("radosgw-admin", "-n", "client.rgw", "user", "create", *user)
        super().start()
        self.client().put_object(Bucket=self.new_bucket(), Key="first", Body=b"")  # the first makes pools

    @property
    def command(self) -> tuple[str, ...]:
        return ("radosgw", "-c", self._conf, "-n", "client.rgw", "-f")

    def come_back(self) -> None:
        """Start the gateway again, with all that was stored."""
        super().start()

    def _ceph(self, program: str, *arguments: str) -> None:
        _run(program, "-c", self._conf, *arguments)


def _run(*command: str) -> None:
    end = time.monotonic() + 2 * PATIENCE
    done = subprocess.run(
        command, capture_output=True, timeout=end - time.monotonic(), check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, f"{command}: {done.stderr.decode()[-2000:]}"
