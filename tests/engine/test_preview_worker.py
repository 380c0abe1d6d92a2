"""The task that keeps the preview worker's child process alive while it is wanted."""

import asyncio

import pytest
from structlog.testing import capture_logs

from app.engine.preview_worker import PreviewWorker
from app.engine.worker_process import WorkerProcess, WorkerProcessFailed

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("error", [OSError("no memory"), WorkerProcessFailed("gone"), RuntimeError("a bug")])
async def test_a_start_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whatever it failed of, which is logged."""
    starts: list[str] = []

    async def start(module: str) -> WorkerProcess:
        starts.append(module)
        raise error

    monkeypatch.setattr(WorkerProcess, "start", start)
    previews = PreviewWorker(kept=True)
    with capture_logs() as logs:
        previews.start()
        await asyncio.sleep(2.5)
        await previews.stop()
    assert starts == ["workers.preview"] * 3
    assert len(logs) == 3
    assert {line["log_level"] for line in logs} == {"error"}
    assert await previews.make(b"") is None


class Child:
    """A process that makes no previews and does not end by itself."""

    pid = 1

    async def write(self, frame: bytes) -> None:
        """Take a segment."""

    async def read(self) -> bytes:
        """Answer that there is no preview."""
        return b"-"

    async def wait(self) -> int:
        """Never end."""
        return await asyncio.get_running_loop().create_future()

    async def end(self) -> None:
        """End at once."""


async def test_a_child_is_there_while_previews_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started for the first one, and ended ten minutes after the last one."""
    starts: list[str] = []

    async def start(module: str) -> Child:
        starts.append(module)
        return Child()

    monkeypatch.setattr(WorkerProcess, "start", start)
    previews = PreviewWorker(asyncio.get_running_loop().time)
    previews.start()
    await asyncio.sleep(3600)
    assert not starts
    for _ in range(3):
        assert await previews.make(b"segment") is None
        await asyncio.sleep(599)
        assert previews.pids() == [1]
    await asyncio.sleep(2)
    assert previews.pids() == []
    assert await previews.make(b"segment") is None
    assert previews.pids() == [1]
    await previews.stop()
    assert len(starts) == 2
    assert previews.snapshot().restarts == 0
