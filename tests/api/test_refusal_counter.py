"""The log of refusals, which runs beside the requests."""

import asyncio
from collections import Counter

import pytest
from structlog.testing import capture_logs

from app.api.refusal_counter import RefusalCounter
from app.server.problems import KINDS

pytestmark = pytest.mark.anyio


async def test_the_log_outlives_a_failure() -> None:
    """An exception in one round is logged, and the next one tells what was refused until then."""
    errors = [RuntimeError("a bug")]

    class Counts(Counter[str]):
        """Cannot be compared the first time."""

        def __sub__(self, other: Counter[str]) -> Counter[str]:
            if errors:
                raise errors.pop()
            return super().__sub__(other)

    refusals = RefusalCounter()
    refusals._counts = Counts()
    with capture_logs() as logs:
        async with refusals.logging():
            refusals.count(KINDS["rate"], "POST")
            await asyncio.sleep(1.5)
            refusals.count(KINDS["rate"], "POST")
            await asyncio.sleep(5)
    assert [(line["event"], line.get("task"), line.get("rate")) for line in logs] == [
        ("background task failed", "log of refusals", None),
        ("refused in the last second", None, 2),
    ]
