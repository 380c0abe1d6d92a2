"""The engine of one machine: its first estimates are calibrated in the background."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.reservations import Reservations
from app.backpressure.token_bucket import GCRA
from app.backpressure.waiting_room import WaitingRoom
from app.engine import local
from app.engine.interface import EngineState
from app.engine.local import LocalEngine
from tests.engine.stand_ins import Setting

pytestmark = pytest.mark.anyio


def engine_of(setting: Setting) -> LocalEngine:
    """An engine with the setting's dispatcher and store."""
    store: Any = setting.store
    reservations = Reservations(1, 20, lambda: 1.0, 100)
    return LocalEngine(
        RateLimiter(GCRA.token_bucket(10, 10), 100),
        WaitingRoom(setting.upload_queue, reservations),
        setting.dispatcher,
        setting.breakers,
        store,
        drain_timeout=30,
        trial_variants=("thumb=96",),
    )


async def test_calibration_outlives_an_unexpected_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the trial is made once more; the estimates then rest on it."""
    loop = asyncio.get_running_loop()
    setting = Setting(loop.time)
    errors = [RuntimeError("a bug")]

    async def calibrate(_: object, report: Callable[[float], None]) -> None:
        if errors:
            raise errors.pop()
        report(0.5)

    monkeypatch.setattr(local, "calibrate", calibrate)
    engine = engine_of(setting)
    with capture_logs() as logs:
        await engine.start()
        assert engine.snapshot().state == EngineState.READY
        await asyncio.sleep(10)
    assert [line["task"] for line in logs] == ["calibration"]
    assert setting.upload_queue.drain_rate.jobs_per_s == pytest.approx(2.0)
    await engine.stop()
    assert setting.store.state is not None
