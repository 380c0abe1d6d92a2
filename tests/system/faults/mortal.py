"""`python mortal.py`: runs the real service as often as it is told to, and kills each run at a chosen step.

Each line on standard input starts a run: the name of the step at which it is to be killed (SIGKILL), or
nothing. A step is a write, fsync, rename, … in the store, or an answer to a client; its name says where, with
ids and the like left out. A run is killed just before the step is done; a write, when half of it is. The
steps that were passed are written to the file `passed`. Standard output has `pid N`, what the service prints,
and `ended STATUS`.

The service is loaded once and forked for each run, because that is quicker.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = f"{Path.cwd()}/data/"
_STEPS = ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "truncate", "ftruncate", "link")
_NAMES = (
    (re.compile(r"images/[0-9a-f]{2}(?![0-9a-f])"), "images/AB"),
    (re.compile(r"work/gone-[0-9a-f]+"), "work/gone"),
    (re.compile(r"work/[0-9a-f]{32}-[0-9a-f]+"), "work/ID"),
    (re.compile(r"[0-9a-f]{32}"), "ID"),
)


class Checkpoints:
    """The steps of one run."""

    def __init__(self, last: str) -> None:
        """`last` is the name of the step at which to be killed."""
        self._last = last
        self._passed = os.open("passed", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._write = os.write
        self._states: dict[str, str] = {}

    def pass_by(self, step: str) -> None:
        """Record the step, or be killed if it is the last."""
        if step == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
        self._write(self._passed, f"{step}\n".encode())

    def place(self, path: Any, folder: int | None = None) -> str | None:
        """The name of a path in the store without ids; None for a path elsewhere."""
        if isinstance(path, int):
            whole = _of_descriptor(path)
        else:
            base = Path.cwd() if folder is None else Path(_of_descriptor(folder))
            whole = str(base / os.fsdecode(path))
        if not f"{whole}/".startswith(ROOT):
            return None
        name = whole.removeprefix(ROOT.rstrip("/")).strip("/") or "."
        for pattern, shown in _NAMES:
            name = pattern.sub(shown, name)
        return f"{name} {self._states[whole]}" if whole in self._states else name

    def note_state(self, descriptor: int, data: Any) -> None:
        """Note what is being written, a job's status or an event's type: a part of the names of its steps."""
        whole = _of_descriptor(descriptor)
        if "/outbox/" in whole:
            kind = f"({json.loads(bytes(data))['type']})"
            self._states[whole] = self._states[whole.removesuffix(".new")] = kind
        if "job.json" in whole:
            job = json.loads(bytes(data))
            later = f", {len(job['deferred'])} deferred" if job["deferred"] else ""
            again = ", reopened" if "reopened" in job and later else ""
            self._states[whole] = f"({job['status']}{later}{again})"


def _of_descriptor(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def arm(last: str) -> None:
    """Wrap the functions of `os` that change the store, and the sending of answers, with checkpoints."""
    points = Checkpoints(last)
    really_open, really_write = os.open, os.write

    def before(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            place = points.place(args[0], kwargs.get("dir_fd"))
            if place is not None:
                target = f" to {points.place(args[1])}" if name in ("rename", "replace") else ""
                points.pass_by(f"{name} {place}{target}")
            return call(*args, **kwargs)

        return checked

    for name in _STEPS:
        setattr(os, name, before(name, getattr(os, name)))

    def checked_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        place = points.place(path, kwargs.get("dir_fd")) if flags & os.O_CREAT else None
        if place is not None:
            points.pass_by(f"create {place}")
        return really_open(path, flags, *args, **kwargs)

    def torn_write(descriptor: int, data: Any) -> int:
        if points.place(descriptor) is None:
            return really_write(descriptor, data)
        points.note_state(descriptor, data)
        place = points.place(descriptor)
        view = memoryview(data)
        half = really_write(descriptor, view[: len(view) // 2])
        points.pass_by(f"write {place}")
        return half + really_write(descriptor, view[half:])

    os.open, os.write = checked_open, torn_write
    _arm_answers(points)


def _arm_answers(points: Checkpoints) -> None:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle as Cycle

    send = Cycle.send

    async def checked(self: Any, message: Any) -> None:
        begins = message["type"] == "http.response.start"
        if begins:
            self.told = message["status"]
        step = f"{self.scope['method']} {self.told}"
        if begins and self.scope["method"] != "GET":
            points.pass_by(f"answer {step}")
        await send(self, message)
        if not begins and self.scope["method"] != "GET":
            points.pass_by(f"answered {step}")

    Cycle.send = checked


def main() -> None:
    """Load the service, and run a fork of it for each line of input."""
    import uvloop

    from app.engine import local
    from app.engine.preview_worker import PreviewWorker
    from app.main import create_app
    from app.runtime import logs
    from app.server.listener import listen
    from app.server.uvicorn_server import Port, Server
    from app.settings import load_settings

    async def nobody(*_: object) -> None:
        pass

    # Two child processes less in every run; they have nothing to do with the store.
    for owner, name, value in (
        (local, "calibrate", nobody),
        (PreviewWorker, "start", lambda _: None),
        (PreviewWorker, "stop", nobody),
    ):
        assert hasattr(owner, name), f"{owner} has no {name}"
        setattr(owner, name, value)
    settings = load_settings()
    logs.configure(settings.log_format)
    app = create_app(settings)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            print(f"pid {os.getpid()}\n", end="", flush=True)
            arm(line.strip())
            server = Server(
                Port(app, listen(settings.host, settings.port), app.state.hooks),
                max_upload_bytes=settings.max_upload_bytes,
            )
            uvloop.run(server.serve())
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}\n", end="", flush=True)


if __name__ == "__main__":
    main()
