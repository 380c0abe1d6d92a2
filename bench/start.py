"""How soon a service answers and takes uploads whose store holds very many images.

The images are made on disk, as links to one file. With `--cold`, as root, the kernel is told to forget what
it knows of them before each start, as after a reboot. A folder that is given is filled up and kept.
"""

import io
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

from PIL import Image

from app.job import Job, JobStatus, MadeVariant, new_id
from bench import rig

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_NO_LIMITS = {"SPILLWAY_RATE": "1000", "SPILLWAY_BURST": "1000", "SPILLWAY_STORE_MAX_BYTES": "1TiB"}
_CALLS = 100


def fill(root: Path, images: int) -> None:
    """Make a store with so many images of four variants."""
    root.mkdir(parents=True, exist_ok=True)
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
def serving(folder: Path) -> Iterator[rig.Serving]:
    """Run `spillway serve` in a folder, without waiting for it."""
    with socket.create_server((rig.HOST, 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {"SPILLWAY_HOST": rig.HOST, "SPILLWAY_PORT": str(port)} | _NO_LIMITS
    command = [str(Path(sys.executable).with_name("spillway")), "serve"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield rig.Serving(process.pid, port)
    finally:
        process.terminate()
        process.wait()


def in_store(root: Path) -> int:
    """How many images a store has."""
    return sum(1 for shard in (root / "images").glob("*") for _ in shard.iterdir())


def costs(server: rig.Serving, image: str) -> dict[str, float]:
    """Milliseconds of the server's own CPU for one upload and for one read of a variant."""
    photo = io.BytesIO()
    Image.new("RGB", (320, 240), "teal").save(photo, "JPEG")
    upload = f"http://{rig.HOST}:{server.port}/v1/images"
    headers = {"Content-Type": "image/jpeg", "Prefer": "wait=10"}
    requests = {
        "upload_ms": urllib.request.Request(upload, photo.getvalue(), headers),
        "read_ms": urllib.request.Request(f"{upload}/{image}/thumb"),  # noqa: S310
    }
    found = {}
    for name, request in requests.items():
        before = rig.cpu_s(server.pid)
        for _ in range(_CALLS):
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                answer.read()
        found[name] = 1000 * (rig.cpu_s(server.pid) - before) / _CALLS
    return found


def measure(folder: Path, *, cold: bool, idle_s: float) -> dict[str, float]:
    """Start a service in a folder; seconds until it answered and was ready, and its slowest answer.

    If `idle_s` is not 0, also its memory, its CPU in so many seconds without requests, and `costs()`.
    """
    if cold:
        os.sync()
        _DROP_CACHES.write_text("3")
    began = time.monotonic()
    with serving(folder) as server:
        port = server.port
        while not status(f"http://{rig.HOST}:{port}/healthz"):
            time.sleep(0.01)
        answered, slowest = time.monotonic() - began, 0.0
        while status(f"http://{rig.HOST}:{port}/readyz") != 200:
            asked = time.monotonic()
            status(f"http://{rig.HOST}:{port}/healthz")
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(max(0.02, (asked - began) / 50))  # a long start is not slowed down by questions
        figures = {
            "answers_s": answered,
            "ready_s": time.monotonic() - began,
            "slowest_healthz_ms": 1000 * slowest,
        }
        if idle_s:
            before = rig.cpu_s(server.pid)
            time.sleep(idle_s)
            figures["idle_cpu_ms"] = 1000 * (rig.cpu_s(server.pid) - before)
            figures["memory_mib"] = rig.resident(server.pid) / 2**20
            shard = next((folder / "data" / "images").iterdir())
            figures |= costs(server, next(shard.iterdir()).name)
        return figures


def main() -> int:
    """Run the bench."""
    parser = rig.options(__doc__, rounds=3)
    parser.add_argument("--images", type=int, default=200_000, help="images in the store (%(default)s)")
    parser.add_argument("--cold", action="store_true", help="drop the kernel's caches before each start")
    parser.add_argument("--folder", type=Path, help="where the store is filled up, and kept")
    parser.add_argument(
        "--idle", type=float, default=0, help="seconds without requests, before some (%(default)s)"
    )
    arguments = parser.parse_args()
    report = rig.Report("start")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        fill(folder / "data", arguments.images - in_store(folder / "data"))
        for _ in range(arguments.rounds):
            was_stopped = (folder / "data" / "inventory").exists()  # nothing is kept of a store just filled
            report.add(
                start_after="a stop" if was_stopped else "a crash",
                images=arguments.images,
                **measure(folder, cold=arguments.cold, idle_s=arguments.idle),
            )
    report.show(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
