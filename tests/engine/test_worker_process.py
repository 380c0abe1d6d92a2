"""Modules that run as processes of their own: what they are told, and what they are not."""

import asyncio
import json
from asyncio.subprocess import DEVNULL
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.engine import worker_process
from app.engine.worker_process import WorkerProcess, WorkerProcessFailed, spawn
from app.runtime import logs
from tests.service import gone, until

DESCRIBE_ITSELF = """
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ), os.getsid(0) == os.getpid()]))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that a process can run by the name of `child`."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "child.py"


def test_a_process_gets_neither_settings_nor_keys_to_a_bucket(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the rest of the environment, its arguments, and a session of its own."""
    module.write_text(DESCRIBE_ITSELF)
    for name in ("SPILLWAY_PORT", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "TOLD"):
        monkeypatch.setenv(name, "something")

    async def output() -> bytes:
        process = await spawn("child", "a", "b c", stdin=DEVNULL)
        return (await process.communicate())[0]

    arguments, environment, leads_its_session = json.loads(asyncio.run(output()))
    assert arguments == ["a", "b c"]
    assert not [name for name in environment if name.startswith(("SPILLWAY_", "AWS_"))]
    assert environment["TOLD"] == "something"
    assert leads_its_session


def test_where_photos_are_decoded_large_buffers_are_of_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the operator has other wishes; the preview worker, whose pictures are small, has none."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert "glibc.malloc.hugetlb=1" in worker_process.environment("workers")["GLIBC_TUNABLES"].split(":")
    assert "GLIBC_TUNABLES" not in worker_process.environment("workers.preview")
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    assert "PYTHONMALLOC" not in worker_process.environment("workers")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    assert worker_process.environment("workers")["GLIBC_TUNABLES"] == "glibc.malloc.check=1"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "ended"),
        ("import os; os.write(1, b'HTTP/1.1 200 OK')", "invalid message"),
        ("import os; os.write(1, (2).to_bytes(4) + b'{}')", "invalid message"),
    ],
)
def test_a_process_that_does_not_begin_as_it_should_has_failed(module: Path, code: str, reason: str) -> None:
    """Whether it ends, sends what is no frame, or a frame that is no message."""
    module.write_text(code)
    with pytest.raises(WorkerProcessFailed, match=reason):
        asyncio.run(WorkerProcess.start("child"))


def test_a_process_is_gone_after_its_start_was_cancelled(module: Path, tmp_path: Path) -> None:
    """One that is never ready is not left behind."""
    pid = tmp_path / "pid"
    module.write_text(
        "import os, pathlib, sys, time\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )

    async def cancelled() -> bool:
        starting = asyncio.create_task(WorkerProcess.start("child"))
        await asyncio.to_thread(until, lambda: pid.exists() and pid.read_text(), "the process to run")
        starting.cancel()
        await asyncio.wait([starting])
        return starting.cancelled()

    assert asyncio.run(cancelled())
    gone(int(pid.read_text()))


def test_what_a_process_writes_to_standard_error_is_logged_where_logs_are_json(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line, and not without end."""
    monkeypatch.setattr(logs, "are_json", lambda: True)
    monkeypatch.setattr(worker_process, "_MAX_RELAYED_BYTES", 30)
    module.write_text("import os\nos.write(2, b'one\\ntwo\\n' + b'x' * 100)")

    async def relayed() -> None:
        process = await spawn("child", stdin=DEVNULL)
        assert process.stdout is not None
        await process.stdout.read()
        await process.wait()
        await asyncio.gather(*worker_process._relays)

    with capture_logs() as lines:
        asyncio.run(relayed())
    assert [line["line"] for line in lines] == ["one", "two", "x" * 22]
