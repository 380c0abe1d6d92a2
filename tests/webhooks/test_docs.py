"""The receiver of docs/webhooks.md works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.service import free_port, until
from tests.webhooks.receiver import SECRET, post_signed

PAGE = Path(__file__).parents[2] / "docs/webhooks.md"


def test_the_receiver_of_the_docs_verifies_and_prints() -> None:
    """It takes what is signed, acts on it once, and takes nothing that anybody else posts."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    port = free_port()
    variables = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": SECRET}
    url = f"http://127.0.0.1:{port}/"
    with subprocess.Popen(
        [sys.executable, "-c", program], env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as receiver:
        try:
            until(lambda: answers(url) == 401, "the receiver")
            assert [post_signed(url, "image.done", "abc") for _ in range(2)] == [204, 204]
        finally:
            receiver.terminate()
        assert receiver.stdout is not None
        assert receiver.stdout.read() == b"image.done abc order 7\n"


def answers(url: str) -> int:
    """The status for something that is not signed; 0 while nobody listens."""
    try:
        return httpx.post(url, content=b"{}").status_code
    except httpx.TransportError:
        return 0
