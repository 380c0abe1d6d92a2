"""The closing table: what was sent, answered, promised and kept, with one column for each act."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

_MB = 1_000_000
_NONE = "-"
_LOSSES = {"no answer seen", "failed", "lost", "end not seen"}
_OPTIONAL = {"408", "other", "hung up themselves", " variants later", " own thumbnail"}
"""Rows that are left out if they are zero in every act."""
_LISTED_STATUSES = {"200", "202", "408", "429", "503"}

Figures = Mapping[str, Any]
Row = tuple[str, str]
"""The name of a figure and its value in one act; the value of a heading is empty."""


def closing_table(acts: Sequence[tuple[str, Figures]]) -> Table:
    """The table of these acts, each given as its title and figures; six of them fit into 80 columns."""
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column("", no_wrap=True)
    for title, _ in acts:
        table.add_column(title, justify="right", min_width=8)
    for cells in zip(*(_rows(figures) for _, figures in acts), strict=True):
        name, values = cells[0][0], [value for _, value in cells]
        if not any(values):
            table.add_row(name, style="bold")
        elif name not in _OPTIONAL or set(values) != {"0"}:
            is_loss = name in _LOSSES and set(values) != {"0"}
            table.add_row(f" {name}", *values, style="bold red" if is_loss else "")
    return table


def _rows(figures: Figures) -> Iterator[Row]:
    answers, previews = figures["answers"], figures["previews"]
    yield "sent", ""
    yield "photos", str(figures["photos"])
    yield "addresses", str(figures["addresses"])
    yield "requests", str(figures["sent"])
    yield "answered", ""
    yield "202 accepted", str(answers.get("202", 0))
    degraded = answers.get("200", 0)
    yield "200 degraded", str(degraded)
    yield " EXIF/placeholder", _pair(previews.get("exif", 0), previews.get("placeholder", 0), degraded)
    for status in ("408", "429", "503"):
        yield status, str(answers.get(status, 0))
    yield "other", str(sum(count for status, count in answers.items() if status not in _LISTED_STATUSES))
    yield "no answer seen", str(sum(figures["unseen"].values()))
    yield "hung up themselves", str(figures["left"])
    yield "refusal p50/p99 ms", _percentiles(figures["refusal_ms"], 0)
    yield "promised", ""
    yield "jobs", str(figures["promised"])
    yield "Retry-After", str(figures["moments_named"])
    yield "wait p50/p99, s", _percentiles(figures["wait_told_s"], 1)
    yield "kept", ""
    yield "done", str(figures["kept"])
    yield " variants later", str(figures["deferred"])
    yield " own thumbnail", str(figures["provisional"])
    yield "failed", str(sum(figures["failed"].values()))
    yield "lost", str(figures["lost"])
    yield "end not seen", str(figures["open"])
    yield "wait p50/p99, s", _percentiles(figures["wait_s"], 1)
    turned_away, mean_error = figures["turned_away"], figures["promise_error_s"]
    yield "in at first return", _pair(figures["in_at_first_return"], turned_away, turned_away)
    yield "in at last", _pair(figures["in_at_last"], turned_away, turned_away)
    yield "mean error, s", _NONE if mean_error is None else f"{mean_error:.2f}"
    yield from _server(figures["server"])


def _server(figures: Figures) -> Iterator[Row]:
    yield "server", ""
    yield "queue, fullest", f"{figures['queue_peak']}/{figures['capacity']}"
    yield "overflow, most", str(figures["overflow_peak"])
    yield "receiving, most", str(figures["dock_peak"])
    for moment in ("before", "peak", "after"):
        yield f"memory {moment}, MB", f"{figures[f'memory_{moment}'] / _MB:.0f}"


def _pair(first: int, second: int, total: int) -> str:
    """Two counts; a dash where there is nothing (`total` 0) to be counted."""
    return f"{first}/{second}" if total else _NONE


def _percentiles(values: Mapping[str, float | None], digits: int) -> str:
    """Both with so many digits after the point, and from ten on with none."""
    shown = [value for value in values.values() if value is not None]
    return "/".join(f"{value:.{digits if value < 10 else 0}f}" for value in shown) or _NONE
