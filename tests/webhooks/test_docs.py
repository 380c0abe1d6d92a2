"""The receiver of docs/webhooks.md works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.service import free_port, serving, until
from tests.webhooks.receiver import SECRET

PAGE = Path(__file__).parents[2] / "docs/webhooks.md"


def test_the_receiver_of_the_docs_verifies_and_prints(tmp_path: Path) -> None:
    """It takes what the service posts, and nothing that anybody else does."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    port = free_port()
    variables = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": SECRET}
    url = f"http://127.0.0.1:{port}/"
    with subprocess.Popen(
        [sys.executable, "-c", program], env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as receiver:
        try:
            until(lambda: answers(url) == 401, "the receiver")
            with serving(tmp_path, variants="thumb=16", webhook_url=url, webhook_secret=SECRET) as service:
                document = service.upload(prefer="wait=20").json()
                assert receiver.stdout is not None
                assert receiver.stdout.readline().decode() == f"image.done {document['id']} None\n"
        finally:
            receiver.terminate()


def answers(url: str) -> int:
    """The status for something that is not signed; 0 while nobody listens."""
    try:
        return httpx.post(url, content=b"{}").status_code
    except httpx.TransportError:
        return 0
