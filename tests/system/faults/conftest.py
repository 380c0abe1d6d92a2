"""Services with a fault: in themselves, or in the machine that they run on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.service import COMMAND, Executed, Service, serving

FAULT = str(Path(__file__).with_name("fault.py"))
_NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
Faulty = Callable[..., Service]


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    """A function that starts a service with the given faults (see fault.py)."""
    with ExitStack() as stack:

        def start(*faults: str, **settings: object) -> Service:
            command = (sys.executable, FAULT, *faults, "--")
            kind = type("FaultyService", (Executed,), {"command": command})
            return stack.enter_context(serving(tmp_path, kind=kind, **settings))

        yield start


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Faulty]:
    """A function that starts a service under a limit of prlimit(1), such as `--nofile=128`."""
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    with ExitStack() as stack:

        def start(limit: str, **settings: object) -> Service:
            kind = type("LimitedService", (Executed,), {"command": ("prlimit", limit, COMMAND)})
            return stack.enter_context(serving(tmp_path, kind=kind, **settings))

        yield start


class Mounted(Executed):
    """A service whose store is a file system of its own (tmpfs, 4 MiB) in a private mount namespace."""

    command = (*_NAMESPACE, "sh", "-c", 'mount -t tmpfs -o size=4m none data && exec "$@"', "sh", COMMAND)

    def start(self) -> None:
        """Start it, and look at the store through the service's mount namespace."""
        self.store.mkdir(exist_ok=True)
        super().start()
        self.store = Path(f"/proc/{self.pid}/root{self.folder}/data")

    def become_read_only(self) -> None:
        """Mount the store's folder over itself read-only; a remount fails while the lock file is open."""
        self._inside("mount", "--bind", "-o", "ro", str(self.folder / "data"), str(self.folder / "data"))

    def become_writable(self) -> None:
        """Undo `become_read_only`."""
        self._unmount()

    def vanish(self) -> None:
        """Unmount the disk; files that are open on it stay usable."""
        self._unmount()

    def _unmount(self) -> None:
        """Unmount even while files are open there: a running job may read its photo."""
        self._inside("umount", "--lazy", str(self.folder / "data"))

    def _inside(self, *command: str) -> None:
        enter = ["nsenter", "--target", str(self.pid), "--mount", *([] if os.geteuid() == 0 else ["--user"])]
        subprocess.run([*enter, *command], check=True, capture_output=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    """A service on a small disk of its own."""
    tried = subprocess.run(
        [*_NAMESPACE, "mount", "-t", "tmpfs", "none", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    with serving(tmp_path, kind=Mounted, rate=1000, burst=1000, client_share=100, retention=60) as service:
        assert isinstance(service, Mounted)
        yield service
