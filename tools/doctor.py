"""`make doctor`: what this machine lacks, what does not work or is not tested without it, and how to get it.

Runs before anything is installed, with the standard library alone. Ends with 1 if the service cannot run.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from workers import landlock

_FULL_LANDLOCK_ABI = 6
"""The first one that keeps signals and abstract sockets from a process."""
_WHEEL_MACHINES = ("x86_64", "aarch64")
_CEPH = ("ceph-mon", "ceph-osd", "radosgw")


@dataclass(frozen=True)
class Part:
    """Something that a machine may lack."""

    name: str
    find: Callable[[], str]
    """What is there, in a few words; empty if it is lacking."""
    without: str
    remedy: str
    """Packages of Debian and Ubuntu, or what else it takes."""
    is_needed: bool = False


def program(*names: str) -> Callable[[], str]:
    """A finder of the first of these programs; /usr/sbin is looked into as well."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return lambda: next(filter(None, (shutil.which(name, path=path) for name in names)), "")


def _all_of_ceph() -> str:
    found = [program(name)() for name in _CEPH]
    return found[-1] if all(found) else ""


def _python() -> str:
    try:
        import ensurepip  # noqa: F401 - whether it is there
        import venv  # noqa: F401
    except ImportError:
        return ""
    return f"{platform.python_version()}, {sys.executable}" if sys.version_info >= (3, 11) else ""


def _wheels() -> str:
    library, version = platform.libc_ver()
    is_new = library == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 28)
    machine = platform.machine()
    return f"{machine}, {library} {version}" if is_new and machine in _WHEEL_MACHINES else ""


def _kernel() -> str:
    return f"Linux {platform.release()}" if sys.platform == "linux" else ""


def _landlock() -> str:
    try:
        version = landlock.abi_version()
    except OSError:
        return ""
    return f"ABI {version}" if version >= _FULL_LANDLOCK_ABI else ""


def _seccomp() -> str:
    with suppress(OSError):
        ctypes.CDLL("libseccomp.so.2")
        return "libseccomp.so.2"
    return ""


def _container_engine() -> str:
    docker = shutil.which("docker")
    if docker is None:
        return ""
    asked = subprocess.run(
        [docker, "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False
    )
    return f"docker {asked.stdout.strip()}" if asked.returncode == 0 else ""


PARTS = (
    Part("Linux", _kernel, "nothing runs: workers need fork(2) and Linux's limits", "", is_needed=True),
    Part("Python 3.11 with venv", _python, "nothing runs", "python3 python3-venv", is_needed=True),
    Part(
        "a platform of wheels",
        _wheels,
        "pip compiles some dependencies, for which it needs compilers of C and Rust",
        "a system with glibc 2.28 or newer, on x86_64 or aarch64",
    ),
    Part(
        "SIMD scaling",
        lambda: _wheels() if platform.machine() == "x86_64" else "",
        "Pillow scales photos: the same pictures, more slowly",
        "a machine of x86_64",
    ),
    Part("libseccomp", _seccomp, "workers are confined by limits and Landlock alone", "libseccomp2"),
    Part(
        "Landlock, ABI 6",
        _landlock,
        "a worker taken over by an image could reach more: files before Linux 5.13, signals before 6.12",
        "a newer kernel",
    ),
    Part("curl", program("curl"), "the README's examples are not tested", "curl"),
    Part(
        "Chromium",
        program("chromium", "chromium-browser", "google-chrome"),
        "the page is not tested",
        "chromium",
    ),
    Part("nginx", program("nginx"), "uploads behind it are not tested", "nginx-light"),
    Part("HAProxy", program("haproxy"), "uploads behind it are not tested", "haproxy"),
    Part("Caddy", program("caddy"), "uploads behind it are not tested", "caddy"),
    Part("Traefik", program("traefik"), "uploads behind it are not tested", "its own releases"),
    Part(
        "nats-server",
        program("nats-server"),
        "many machines are not tested, and cannot be run",
        "nats-server",
    ),
    Part("Ceph", _all_of_ceph, "buckets are tested with moto alone", "ceph-mon ceph-osd radosgw"),
    Part("npm", program("npm"), "recipes in JavaScript are not tested", "npm"),
    Part("promtool", program("promtool"), "alert rules are not tested", "prometheus"),
    Part("systemd-analyze", program("systemd-analyze"), "the systemd unit is not rated", "systemd"),
    Part(
        "a container engine",
        _container_engine,
        "compose files are not tested, and no image is built",
        "docker-compose docker-buildx, and the engine of Docker",
    ),
)


def report(parts: tuple[Part, ...] = PARTS) -> int:
    """Print a line for each part, and two for what is lacking; the exit status."""
    lacking = []
    for part in parts:
        found = part.find()
        print(f"{'ok' if found else 'MISSING' if part.is_needed else 'lacks':8}{part.name:24}{found}")
        if found:
            continue
        lacking.append(part)
        print(f"{'':8}without it: {part.without}")
        if part.remedy:
            print(f"{'':8}get it: {part.remedy}")
    return int(any(part.is_needed for part in lacking))


if __name__ == "__main__":
    sys.exit(report())
