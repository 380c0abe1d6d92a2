"""Real proxies before a service, for the tests, and nginx with the examples of the documentation."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service import Connection, until

PROXIES = Path(__file__).parent.parent / "docs/proxies.md"

NGINX = """
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
{}
}}
"""
"""What stands around the servers of a configuration of nginx that is tried."""


def examples() -> list[str]:
    """The examples for nginx in the documentation: a service under a path, and one behind a cache."""
    return re.findall(r"```nginx\n(.+?)\n```", PROXIES.read_text(), re.DOTALL)


def find_proxy(name: str) -> str:
    """The path of a proxy's program. Skips the test where it is not installed."""
    binary = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if binary is None:
        pytest.skip(f"{name} is not installed")
    return binary


@contextmanager
def running(command: Sequence[str], folder: Path, ports: Sequence[int]) -> Iterator[None]:
    """Run a proxy in a folder, which is its home too, until the end of the block; it listens on all ports."""
    homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder))
    process = subprocess.Popen(command, cwd=folder, env=os.environ | homes, stdin=subprocess.DEVNULL)
    try:
        until(lambda: all(map(_listens, ports)) or process.poll() is not None, f"{command[0]} to listen")
        assert process.poll() is None
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def proxying(folder: Path, ports: Sequence[int], service_port: int) -> Iterator[None]:
    """Run each example on a port of its own, all before one service, for the length of the block.

    Skips the test where nginx is not installed.
    """
    binary = find_proxy("nginx")
    servers = ""
    for example, port in zip(examples(), ports, strict=True):
        assert "listen 80;" in example
        here = example.replace("listen 80;", f"listen 127.0.0.1:{port};")
        servers += here.replace("127.0.0.1:8000", f"127.0.0.1:{service_port}")
    servers = servers.replace("/var/cache/nginx/", "")
    (folder / "nginx.conf").write_text(NGINX.format(servers))
    with running([binary, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], folder, ports):
        yield


def _listens(port: int) -> bool:
    try:
        Connection("127.0.0.1", port).close()
    except ConnectionRefusedError:
        return False
    return True
