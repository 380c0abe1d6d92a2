"""The running service: its parts start in order, and what runs beside requests outlives a failure."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.lifecycle import Service
from app.server.open_requests import OpenRequests
from app.settings import Settings

pytestmark = pytest.mark.anyio


class Part:
    """Stands for a part of the service: notes what is called."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self._name = name
        self._calls = calls

    def __getattr__(self, method: str) -> Any:
        async def call() -> None:
            self._calls.append(f"{self._name}.{method}")

        return call


class SweptStore(Part):
    """A store whose sweeps fail at first."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__("store", calls)
        self.sweeps = 0
        self.errors: list[Exception] = [OSError("no such disk"), RuntimeError("a bug")]

    async def sweep(self) -> int:
        self.sweeps += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7


class Previews(Part):
    """A preview worker, which starts in the background."""

    def start(self) -> None:
        self._calls.append("previews.start")


class Engine(Part):
    """An engine, which has a snapshot."""

    def snapshot(self) -> Any:
        class Snapshot:
            sandbox: dict[str, str] = {}  # noqa: RUF012

        return Snapshot


def service_of(store: SweptStore, calls: list[str]) -> Service:
    """A service of parts that do nothing."""
    parts: Any = store, Engine("engine", calls), Previews("previews", calls)
    return Service(Settings(retention=100), *parts, OpenRequests(10))


@pytest.mark.usefixtures("bare_environment")
async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    """The store is there before the engine, and after it."""
    calls: list[str] = []
    async with service_of(SweptStore(calls), calls).running():
        assert calls == ["store.open", "previews.start", "store.survey", "engine.start"]
    assert calls[4:] == ["previews.stop", "engine.stop", "store.close"]


@pytest.mark.usefixtures("bare_environment")
async def test_sweeps_go_on_after_a_failure() -> None:
    """Of the store, or an unexpected one: both are logged, and the next sweep runs."""
    calls: list[str] = []
    store = SweptStore(calls)
    with capture_logs() as logs:
        async with service_of(store, calls).running():
            await asyncio.sleep(17)  # a sweep every 5 s, and a second's pause after the unexpected failure
    assert store.sweeps == 3
    assert [line["event"] for line in logs] == [
        "started",
        "sweep failed",
        "background task failed",
        "expired images removed",
    ]
