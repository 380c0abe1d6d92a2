"""A real nginx before a service, for the tests: with the examples of the documentation."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service import Connection, until

PROXIES = Path(__file__).parent.parent / "docs/proxies.md"

_AROUND = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
{servers}
}}
"""


def examples() -> list[str]:
    """The examples for nginx in the documentation: a service under a path, and one behind a cache."""
    return re.findall(r"```nginx\n(.+?)\n```", PROXIES.read_text(), re.DOTALL)


@contextmanager
def proxying(folder: Path, ports: Sequence[int], service_port: int) -> Iterator[None]:
    """Run each example on a port of its own, all before one service, for the length of the block.

    Skips the test where nginx is not installed.
    """
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if binary is None:
        pytest.skip("nginx is not installed")
    servers = ""
    for example, port in zip(examples(), ports, strict=True):
        assert "listen 80;" in example
        here = example.replace("listen 80;", f"listen 127.0.0.1:{port};")
        servers += here.replace("127.0.0.1:8000", f"127.0.0.1:{service_port}")
    servers = servers.replace("/var/cache/nginx/", "")
    (folder / "nginx.conf").write_text(_AROUND.format(servers=servers))
    process = subprocess.Popen(
        [binary, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], stdin=subprocess.DEVNULL
    )
    try:
        until(lambda: all(map(_listens, ports)) or process.poll() is not None, "nginx to listen")
        assert process.poll() is None
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    try:
        Connection("127.0.0.1", port).close()
    except ConnectionRefusedError:
        return False
    return True
