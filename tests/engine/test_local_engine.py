"""The engine of one machine: its first estimates are calibrated, and a wait in vain ends with its reason."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.rate_limiter import RateLimiter
from app.backpressure.reservation_table import Requester
from app.backpressure.reservations import Reservations
from app.backpressure.token_bucket import GCRA
from app.backpressure.waiting_room import QueueFull, WaitingRoom
from app.engine import local
from app.engine.interface import Draining, EngineState, UploadSlot
from app.engine.local import LocalEngine
from tests.engine.stand_ins import Setting

pytestmark = pytest.mark.anyio


def engine_of(setting: Setting) -> LocalEngine:
    """An engine with the setting's dispatcher and store."""
    clock = asyncio.get_running_loop().time
    reservations = Reservations(1, 20, lambda: 1.0, 100, clock=clock)
    return LocalEngine(
        RateLimiter(GCRA.token_bucket(10, 10), 100),
        WaitingRoom(setting.upload_queue, reservations, clock=clock),
        setting.dispatcher,
        setting.breakers,
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


async def waiting(engine: LocalEngine) -> asyncio.Task[UploadSlot]:
    """An upload that was refused by a full queue, came back when told and waits in the waiting room."""
    requester = Requester("upload", "client", "net")
    engine._state = EngineState.READY
    for _ in range(20):
        engine.upload_queue.reserve("others")
    with pytest.raises(QueueFull) as refused:
        await engine.reserve(requester, 0, lambda _: None)
    await asyncio.sleep(refused.value.retry_after)
    task = asyncio.ensure_future(engine.reserve(requester, 0, lambda _: None))
    await asyncio.sleep(7.5)
    assert engine.snapshot().reservations.waiting == 1
    return task


async def test_a_wait_that_ends_while_the_store_fails_is_refused_by_the_store_s_breaker() -> None:
    """Not by the queue, which was full as well: the client is told what it really waits for."""
    setting = Setting(asyncio.get_running_loop().time)
    task = await waiting(engine_of(setting))
    while setting.breakers.store.remaining() == 0:
        with suppress(OSError), setting.breakers.store.guard(OSError):
            raise OSError
    with pytest.raises(BreakerOpen) as refused:
        await task
    assert refused.value.name == "store"
    assert refused.value.retry_after >= 1


async def test_a_wait_that_a_shutdown_ends_is_refused_by_that() -> None:
    """The client is told to come back when the service has been replaced."""
    engine = engine_of(Setting(asyncio.get_running_loop().time))
    task = await waiting(engine)
    engine._begin_drain(30)
    with pytest.raises(Draining) as refused:
        await task
    assert refused.value.retry_after >= 30
