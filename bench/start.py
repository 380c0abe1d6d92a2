"""How soon a service answers and takes uploads whose store holds very many images.

The images are made on disk, as links to one file. With `--cold`, as root, the kernel is told to forget what
it knows of them before each start, as after a reboot.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from app.job import Job, JobStatus, MadeVariant, new_id
from bench import rig

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def fill(root: Path, images: int) -> None:
    """Make a store with so many images of four variants."""
    root.mkdir(parents=True)
    file = root / "file"
    file.write_bytes(bytes(1000))
    names = ("large", "medium", "small", "thumb")
    made = {name: MadeVariant(f"{name}.jpg", 10, 10, 1000, "jpeg", "0" * 64) for name in names}
    now = time.time()
    done = Job(new_id(), now, 1000, names, status=JobStatus.DONE, finished_at=now, made=made)
    for number in range(images):
        if number % 10_000 == 9_999:  # a file has at most 65 000 names
            file.unlink()
            file.write_bytes(bytes(1000))
        job = replace(done, id=new_id())
        folder = root / "images" / job.id[:2] / job.id
        folder.mkdir(parents=True)
        (folder / "job.json").write_bytes(job.to_record())
        for variant in made.values():
            os.link(file, folder / variant.file)


def status(url: str) -> int:
    """The status of a GET; 0 when nobody answers within ten seconds."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http on the loopback
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Run `spillway serve` in a folder, without waiting for it; its port."""
    with socket.create_server((rig.HOST, 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {"SPILLWAY_HOST": rig.HOST, "SPILLWAY_PORT": str(port)}
    command = [str(Path(sys.executable).with_name("spillway")), "serve"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def measure(folder: Path, *, cold: bool) -> dict[str, float]:
    """Start a service in a folder; seconds until it answered and was ready, and its slowest answer."""
    if cold:
        os.sync()
        _DROP_CACHES.write_text("3")
    began = time.monotonic()
    with serving(folder) as port:
        while not status(f"http://{rig.HOST}:{port}/healthz"):
            time.sleep(0.01)
        answered, slowest = time.monotonic() - began, 0.0
        while status(f"http://{rig.HOST}:{port}/readyz") != 200:
            asked = time.monotonic()
            status(f"http://{rig.HOST}:{port}/healthz")
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.02)
        return {
            "answers_s": answered,
            "ready_s": time.monotonic() - began,
            "slowest_healthz_ms": 1000 * slowest,
        }


def main() -> int:
    """Run the bench."""
    parser = rig.options(__doc__, rounds=3)
    parser.add_argument("--images", type=int, default=200_000, help="images in the store (%(default)s)")
    parser.add_argument("--cold", action="store_true", help="drop the kernel's caches before each start")
    arguments = parser.parse_args()
    report = rig.Report("start")
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "data", arguments.images)
        for number in range(arguments.rounds):
            report.add(
                start_after="a stop" if number else "a crash",  # nothing is kept of a store just filled
                images=arguments.images,
                **measure(Path(folder), cold=arguments.cold),
            )
    report.show(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
