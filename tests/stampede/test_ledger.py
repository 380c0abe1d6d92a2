"""The figures of the closing table are right."""

import json

from rich.console import Console

from app.stampede.acts import ACTS, ActRun, Pressure
from app.stampede.http_client import Answer
from app.stampede.ledger import Ledger, percentile
from app.stampede.report import closing_table
from app.stampede.target import resolve

MB = 1_000_000


def answer(status: int, seconds: float = 0.01, retry_after: str = "", **document: object) -> Answer:
    headers = {"retry-after": retry_after} if retry_after else {}
    return Answer(status, headers, json.dumps(document).encode(), seconds)


def test_every_answer_is_counted_once_under_its_status() -> None:
    """Accepted, degraded and refused uploads are counted, with what their answers say."""
    ledger = Ledger()
    ledger.count(answer(202, estimated_wait_ms=1500))
    ledger.count(answer(200, preview={"kind": "exif"}))
    ledger.count(answer(200, preview={"kind": "placeholder"}))
    ledger.count(answer(429, 0.002, "1", guard="rate"))
    ledger.count(answer(503, 0.004, "9", guard="queue"))
    ledger.count(answer(408, 5.0))

    figures = ledger.figures()
    assert figures["answers"] == {"200": 2, "202": 1, "408": 1, "429": 1, "503": 1}
    assert figures["previews"] == {"exif": 1, "placeholder": 1}
    assert figures["guards"] == {"queue": 1, "rate": 1}
    assert figures["moments_named"] == 2
    assert figures["refusal_ms"] == {"p50": 2.0, "p99": 4.0}
    assert figures["wait_told_s"] == {"p50": 1.5, "p99": 1.5}
    assert (figures["promised"], figures["open"]) == (1, 1)


def test_something_is_lost_unless_every_promise_is_kept_and_every_answer_seen() -> None:
    """A failed job, a job without a known end, and a reset connection each count as a loss."""
    kept = Ledger(promised=2, done=2)
    assert kept.kept_everything
    assert not Ledger(promised=2, done=1).kept_everything
    failed = Ledger(promised=1)
    failed.failed["too slow"] += 1
    assert not failed.kept_everything
    assert failed.open == 0
    kept.unanswered["reset"] += 1
    assert not kept.kept_everything


def test_percentiles_are_values_that_occurred() -> None:
    """They are computed by nearest rank; no values have none."""
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (50, 99, 7)
    assert percentile([], 0.5) is None


def test_the_closing_table_of_six_acts_fits_80_columns() -> None:
    """Each act has a column with each figure in its row, and nothing is cut off."""
    runs = []
    for act in ACTS:
        run = ActRun(act, resolve("http://127.0.0.1:8000")[0], Pressure(6), [None], 2.0)
        ledger, server = run.ledger, run.server
        ledger.photos, ledger.promised, ledger.done, ledger.wait_s = 1234, 999, 999, [61.7, 92.1]
        ledger.answers[202], ledger.turned_away, ledger.first_return, ledger.got_in = 999, 321, 320, 321
        ledger.promise_error_s = [0.1, 0.3]
        server.queue_peak, server.capacity, server.memory_peak = 100, 100, 412 * MB
        server.overflow_peak = 175
        runs.append(run)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(closing_table([(run.act.title, run.figures()) for run in runs]))
    rows = {line[:20].strip(): line[20:].split() for line in captured.get().splitlines()}
    assert rows["photos"] == ["1234"] * len(ACTS)
    assert rows["202 accepted"] == ["999"] * len(ACTS)
    assert rows["in at first return"] == ["320/321"] * len(ACTS)
    assert rows["in at last"] == ["321/321"] * len(ACTS)
    assert rows["mean error, s"] == ["0.20"] * len(ACTS)
    assert rows["memory peak, MB"] == ["412"] * len(ACTS)
    assert rows["queue, fullest"] == ["100/100"] * len(ACTS)
    assert rows["overflow, most"] == ["175"] * len(ACTS)
    assert rows["wait p50/p99, s"] == ["62/92"] * len(ACTS)
    assert "…" not in captured.get()
