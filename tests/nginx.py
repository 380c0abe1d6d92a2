"""A real nginx before a service, for the tests: with the server of the documentation's example."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service import Connection, until

OPERATIONS = Path(__file__).parent.parent / "docs/operations.md"

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
{server}
}}
"""


def example() -> str:
    """The first example of a server of nginx in the documentation."""
    found = re.search(r"```nginx\n(server \{\n.+?\n\})\n```", OPERATIONS.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def proxying(folder: Path, port: int, service_port: int) -> Iterator[None]:
    """Run the example on a port of its own, before a service, for the length of the block.

    Skips the test where nginx is not installed.
    """
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if binary is None:
        pytest.skip("nginx is not installed")
    server = example()
    for there, here in ("listen 80;", f"listen 127.0.0.1:{port};"), (":8000/;", f":{service_port}/;"):
        assert there in server
        server = server.replace(there, here)
    (folder / "nginx.conf").write_text(_AROUND.format(server=server))
    process = subprocess.Popen(
        [binary, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], stdin=subprocess.DEVNULL
    )
    try:
        until(lambda: _listens(port) or process.poll() is not None, "nginx to listen")
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
