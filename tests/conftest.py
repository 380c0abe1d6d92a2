"""What all tests share: an event loop that never waits, a bare environment, and services."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.clocks import LeapingLoop
from tests.service import Service, serving

# Examples are slow on a machine that has much else to do, which says nothing about the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

Start = Callable[..., Service]
_LONG = ("test_paused_worker", "test_browser", "test_cluster", "web", "process", "faults")
"""Modules, or folders of them, that take longest; the first and the third mostly wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that parallel runners end at about the same time."""

    def rank(item: pytest.Item) -> int:
        names = (item.path.stem, item.path.parent.name)
        return next((number for number, name in enumerate(_LONG) if name in names), len(_LONG))

    items.sort(key=rank)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a service with the given settings, in one folder for the whole test."""
    with ExitStack() as stack:
        yield lambda *arguments, **settings: stack.enter_context(serving(tmp_path, *arguments, **settings))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop of every async test that does not choose another."""
    return "asyncio", {"loop_factory": LeapingLoop}


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without settings: neither variables nor a `.env` in the current folder."""
    for name in list(os.environ):
        if name.upper().startswith("SPILLWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch
