"""The log of outages: one line when one begins and one when it is over."""

import pytest
from structlog.testing import capture_logs

from app.backpressure.circuit_breaker import CircuitBreaker
from app.engine.base import CircuitBreakers
from tests.clocks import HandClock


@pytest.mark.parametrize("name", ["workers", "store", "engine"])
def test_the_begin_and_the_end_of_an_outage_are_logged_once_each(name: str) -> None:
    """However often the breaker tries in vain meanwhile; the next outage is logged again."""
    clock = HandClock(0.0)
    names = ("workers", "store", "engine")
    made = {each: CircuitBreaker(each, failure_threshold=2, clock=clock) for each in names}
    CircuitBreakers(**made)
    breaker = made[name]
    with capture_logs() as lines:
        for outage in range(2):
            for _ in range(5):
                clock.advance(breaker.remaining())
                with pytest.raises(OSError, match="down"), breaker.guard(OSError):
                    raise OSError(f"down {outage}")
            clock.advance(breaker.remaining())
            with breaker.guard(OSError):
                pass
    assert [(line["log_level"], line["breaker"], line.get("reason")) for line in lines] == [
        ("error", name, "down 0"),
        ("info", name, None),
        ("error", name, "down 1"),
        ("info", name, None),
    ]
    assert "circuit breaker opened" in lines[0]["event"]
    assert lines[1]["after_s"] >= 0
