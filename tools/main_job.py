"""Tries an installed `spillway`: it serves, takes a photo and gives pictures back; then its other commands.

    python -m tools.main_job /path/to/spillway

It runs in a folder that looks like a project of somebody else, which has an `app`, a `workers`, and modules
that are called as some of the standard library and of others. None of them may be imported.
"""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOREIGN_MODULES = ("app", "workers", "random", "json", "asyncio", "typing", "PIL", "uvloop", "sitecustomize")
_TIMEOUT_S = 60.0
_SECRET = "0123456789abcdef" * 2


class Failed(Exception):
    """Raised when something did not do what it should."""


def photo() -> bytes:
    """A PNG of 64 x 48 pixels."""
    rows = (b"\0" + b"".join(bytes((x * 3, y * 5, 99)) for x in range(64)) for y in range(48))
    header = struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(b"".join(rows)), b"IEND": b""}
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def lay_out(project: Path) -> Path:
    """Write the foreign project; the file that appears as soon as one of its modules is imported."""
    mark = project / "imported"
    code = f"import os\nos.close(os.open({str(mark)!r}, os.O_CREAT))\nraise SystemExit('foreign code')\n"
    for name in FOREIGN_MODULES:
        (project / f"{name}.py").write_text(code)
        (project / name).mkdir()
        (project / name / "__init__.py").write_text(code)
    (project / "photos").mkdir()
    (project / "photos/one.png").write_bytes(photo())
    return mark


def environment(**settings: object) -> dict[str, str]:
    """The variables of a user's shell, with these settings alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPILLWAY_", "PYTHON"))}
    return kept | {f"SPILLWAY_{name.upper()}": str(value) for name, value in settings.items()}


def run(spillway: str, project: Path, status: int, *arguments: str, **settings: object) -> str:
    """Run a command that has to end with this status; what it wrote."""
    done = subprocess.run(
        [spillway, *arguments],
        cwd=project,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != status:
        raise Failed(f"`spillway {' '.join(arguments)}` ended with {done.returncode}: {done.stderr}")
    return done.stdout + done.stderr


@contextmanager
def serving(spillway: str, project: Path) -> Iterator[str]:
    """The address of a running service, which has to end with status 0 at SIGTERM."""
    errors = project / "stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [spillway, "serve", "--port", "0"],
            cwd=project,
            env=environment(workers=1, demo="true"),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        with process:
            assert process.stdout is not None
            address = re.search(r"http://\S+?:\d+", process.stdout.readline())
            if address is None:
                raise Failed(f"it did not start: {errors.read_text()}")
            yield address[0]
            process.send_signal(signal.SIGTERM)
            if process.wait(_TIMEOUT_S) != 0 or "Traceback" in errors.read_text():
                raise Failed(f"it did not end well: {errors.read_text()}")
    finally:
        process.kill()


def ask(method: str, url: str, body: bytes | None = None, **fields: str) -> bytes:
    """The body of an answer; fields are named with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    request = urllib.request.Request(url, body, named, method=method)  # noqa: S310 - the service just started
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        content: bytes = answer.read()
        return content


def main_job(url: str) -> None:
    """Open the page, upload, wait, fetch each variant, delete."""
    if b"Spillway" not in ask("GET", f"{url}/", accept="text/html"):
        raise Failed("there is no page")
    uploaded = ask("POST", f"{url}/v1/images", photo(), content_type="image/png", prefer="wait=30")
    document: dict[str, Any] = json.loads(uploaded)
    if document["status"] != "done":
        raise Failed(f"the photo is not done: {document}")
    for variant in document["variants"].values():
        if not ask("GET", url + variant["url"]).startswith(b"\xff\xd8"):
            raise Failed(f"{variant} is no JPEG")
    ask("DELETE", url + document["links"]["self"], authorization=f"Bearer {document['delete_token']}")


def try_all(spillway: str) -> None:
    """Run every command once. Raises Failed."""
    with TemporaryDirectory(prefix="spillway-main-job-") as name:
        project = Path(name)
        mark = lay_out(project)
        with serving(spillway, project) as url:
            main_job(url)
            run(spillway, project, 0, "put", "photos", "--to", url)
        run(spillway, project, 0, "check", workers=1, worker_memory="64MiB")
        run(spillway, project, 0, "size", "--photos-per-hour", "1000")
        run(spillway, project, 0, "ticket", upload_keys=f"app:{_SECRET}")
        run(spillway, project, 0, "stampede", "--help")
        run(spillway, project, 2, "worker")  # there is no NATS; it says so
        run(spillway, project, 2, "webhook-receiver")  # there is no secret
        if mark.exists():
            raise Failed("a module of the folder was imported in which it ran")


def main() -> None:
    """Try the command that the argument names."""
    try:
        try_all(sys.argv[1])
    except Failed as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    print(f"{sys.argv[1]} serves, and every command runs")


if __name__ == "__main__":
    main()
