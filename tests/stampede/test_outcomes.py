"""The sentence after an act says what happened in it, and nothing else."""

import pytest

from app.stampede.acts import ACTS, Act
from app.stampede.ledger import Ledger
from app.stampede.outcomes import in_people
from app.stampede.photos import SIZE, size_for
from app.stampede.server_stats import ServerStats


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_an_act_without_refusals_claims_none(act: Act) -> None:
    """When every upload was accepted, nobody was told 429, 503 or 408, and the queue did not fill."""
    ledger = Ledger(photos=20, sent=20, promised=20, done=20)
    ledger.answers[202] = 20
    told = act.outcome(ledger, ServerStats(capacity=100, queue_peak=3))
    assert "20" in told
    assert "503" not in told
    assert "filled" not in told
    for status in ("429", "408"):
        assert status not in told or f"was told {status}" in told


def test_a_full_queue_is_told_with_its_figures() -> None:
    """How many were refused, how fast, and what it cost in memory."""
    ledger = Ledger(photos=300, sent=300, promised=100, done=90, refusal_s=[0.002, 0.003, 0.004])
    ledger.answers.update({202: 100, 503: 200})
    ledger.guards["queue"] = 200
    told = _act("crowd").outcome(ledger, ServerStats(memory_before=10_000_000, memory_peak=12_000_000))
    assert told == (
        "The queue filled: 200 of 300 uploads were told 503, half of them within 3 ms; "
        "100 were accepted, 90 of them are done, and memory rose by 2 MB at most."
    )


def test_one_address_says_why_the_queue_did_not_fill() -> None:
    """A crowd that is one client to the server meets its bucket."""
    ledger = Ledger(photos=30, sent=30, promised=10, done=10)
    ledger.answers.update({202: 10, 429: 20})
    ledger.guards["rate"] = 20
    told = _act("crowd").outcome(ledger, ServerStats(capacity=100, queue_peak=8))
    assert told.startswith("The queue did not fill (8 of 100 places)")
    assert "20 were told 429" in told


def test_ten_addresses_that_are_too_few_are_told() -> None:
    """Containers are one address each; what their buckets let in may not fill the queue of a fast server."""
    ledger = Ledger(photos=40, sent=40, promised=40, done=40, addresses={f"10.0.0.{i}" for i in range(10)})
    ledger.answers[202] = 40
    told = _act("crowd").outcome(ledger, ServerStats(capacity=100, queue_peak=54))
    assert told.startswith("The queue did not fill (54 of 100 places)")
    assert "each of 10 addresses asked as often as it may" in told


def test_impatience_is_told_with_what_it_gained() -> None:
    """Whether those who asked again at once got in before the moment that they were told."""
    ledger = Ledger(photos=10, sent=52, promised=10, done=10, turned_away=4, got_in=4)
    ledger.promise_error_s = [0.5, 1.5, 0.5, 1.5]
    assert _act("impatient").outcome(ledger, ServerStats()) == (
        "4 of 10 clients were told when to come back and asked every two seconds: 4 got in, "
        "on average 1.0 s after the moment that they were told, for 5.2 requests each."
    )


def test_an_act_is_told_in_people() -> None:
    """How many came, got in and were told when, and whether anybody was lost."""
    ledger = Ledger(photos=244, sent=400, promised=244, done=244, turned_away=125, got_in=125)
    assert in_people(ledger) == (
        "244 people; 244 got in; 125 were told when to come back; "
        "125 of them came back and got in; nobody lost."
    )
    ledger.done = 240
    assert in_people(ledger).endswith("4 not seen to their end.")


def test_photos_grow_with_the_workers() -> None:
    """From twelve megapixels to twenty-four."""
    assert size_for(2) == SIZE
    width, height = size_for(16)
    assert 23e6 < width * height < 25e6


def _act(name: str) -> Act:
    return next(act for act in ACTS if act.name == name)
