"""The task that keeps the preview worker's child process alive."""

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
    previews = PreviewWorker()
    with capture_logs() as logs:
        previews.start()
        await asyncio.sleep(2.5)
        await previews.stop()
    assert starts == ["workers.preview"] * 3
    assert len(logs) == 3
    assert {line["log_level"] for line in logs} == {"error"}
    assert await previews.make(b"") is None
