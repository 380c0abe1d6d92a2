"""What the tests of the parts share: asyncio, on a loop in which no test ever waits."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.parts.clocks import LeapingLoop


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The loop of every async test here that does not say otherwise."""
    return "asyncio", {"loop_factory": LeapingLoop}


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No setting from outside: neither variables nor a `.env` in the current folder."""
    for name in list(os.environ):
        if name.upper().startswith("SPILLWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch
