"""The systems that are measured: Spillway, and what people build instead."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rig import ROOT, Serving, spillway, started

QUEUE_SIZE = 100
_BASELINES = ROOT / "bench" / "baselines"


class Missing(Exception):
    """Raised when what a system needs is not on this machine; its message says what."""


@dataclass(frozen=True, slots=True)
class System:
    """One service. `start` runs it in an empty folder, where each photo gets a folder of its variants."""

    name: str
    start: Callable[[Path], AbstractContextManager[Serving]]


def spillway_system(name: str, **settings: Any) -> System:
    """Spillway with its defaults and `settings`; what it has not done at the end need not be done."""

    def start(folder: Path) -> AbstractContextManager[Serving]:
        return spillway(folder, queue_size=QUEUE_SIZE, drain_timeout=0, log_format="json", **settings)

    return System(name, start)


def _command(*command: str) -> Callable[[Path], AbstractContextManager[Serving]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Serving]:
        environment = os.environ | {"TMPDIR": str(folder)}
        with (
            (folder / "log").open("w") as log,
            started([*command, str(folder)], environment, ROOT, None, log) as serving,
        ):
            yield serving

    return start


def tutorial() -> System:
    """The usual FastAPI tutorial."""
    try:
        import slowapi  # noqa: F401
    except ImportError:
        raise Missing("slowapi is not installed") from None
    return System("fastapi tutorial", _command(sys.executable, "-m", "bench.baselines.tutorial"))


def sharp() -> System:
    """Node's; its packages are installed, by its lock, when it is first asked for."""
    home = _BASELINES / "sharp"
    if not shutil.which("node") or not shutil.which("npm"):
        raise Missing("node and npm are not on PATH")
    if not (home / "node_modules").exists():
        _run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], home)
    return System("node + sharp", _command("node", str(home / "server.js")))


def golang(folder: Path) -> System:
    """Go's, built into `folder`."""
    if not shutil.which("go"):
        raise Missing("go is not on PATH")
    program = folder / "golang"
    _run(["go", "build", "-o", str(program), "."], _BASELINES / "golang")
    return System("go tutorial", _command(str(program)))


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command[:2])} failed: {done.stderr.strip()[-300:]}")


def baselines(folder: Path) -> Iterator[System]:
    """Those that this machine can run; says which it cannot."""
    makers: tuple[Callable[[], System], ...] = (tutorial, sharp, lambda: golang(folder))
    for make in makers:
        try:
            yield make()
        except Missing as missing:
            print(f"left out: {missing}", file=sys.stderr)
