"""The examples of docs/tickets.md do what they say."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.service import COMMAND, Service, environment, serving
from tests.tickets import SECRET

TEXT = (Path(__file__).parent.parent / "docs/tickets.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def block(kind: str, beginning: str) -> str:
    """The one example of this language that begins so."""
    (found,) = [text for language, text in BLOCKS if language == kind and text.startswith(beginning)]
    return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes tickets of the key app, with a photo in its folder."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "photo.jpg").write_bytes(samples.jpeg(640, 480))
    with serving(folder, upload_keys=f"app:{SECRET}", workers=1) as service:
        yield service


def output(service: Service, *command: str) -> str:
    """What a program prints that has the secret in its environment."""
    done = subprocess.run(
        command,
        cwd=service.folder,
        env=environment(upload_keys=f"app:{SECRET}") | {"UPLOAD_SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_backend_in_python_makes_tickets(guarded: Service) -> None:
    """With the claims of the example: two variants and no more."""
    token = output(guarded, sys.executable, "-c", block("python", "import os"))
    document = guarded.upload(authorization=f"Bearer {token}", prefer="wait=20").json()
    assert set(document["variants"]) | set(document["deferred"]) == {"thumb", "large"}


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_a_backend_in_node_makes_tickets_and_a_page_uploads_with_them(guarded: Service) -> None:
    """One program here: the page's function gets what the backend's has made."""
    backend, page = block("js", "import {"), block("js", "async function upload")
    page = page.replace("http://127.0.0.1:8000", guarded.url)
    program = f"""{backend}\n{page}
import {{ readFileSync }} from "node:fs";
const file = new Blob([readFileSync("photo.jpg")], {{ type: "image/jpeg" }});
console.log(await upload(file, ticket("bob")));
await upload(file, "none").catch((error) => console.log(error.message));
"""
    (guarded.folder / "program.mjs").write_text(program)
    token, url, refusal = output(guarded, "node", "program.mjs").splitlines()
    assert len(token.split(".")) == 3
    assert guarded.get(url).status == 200
    assert refusal == "The ticket is not a signed JSON web token."


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_ticket_of_the_command_line_is_good(guarded: Service) -> None:
    """The commands as they stand print a job's document."""
    commands = block("sh", "ticket=$(").replace("http://127.0.0.1:8000", guarded.url)
    printed = output(guarded, "bash", "-euc", commands.replace("spillway ticket", f"{COMMAND} ticket"))
    assert '"delete_token"' in printed
