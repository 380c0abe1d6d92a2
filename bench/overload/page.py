"""The figures of an overload bench as the table of docs/benchmarks.md."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]

_BEGIN, _END = "<!-- figures of bench.overload -->", "<!-- end of figures -->"
_HEAD = (
    "| load | system | photos/s | thumbnails/s | of capacity | per CPU second left | refused | not told "
    "| a refusal, ms | an upload, ms | memory, MB |\n"
    "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n"
)
_ANSWER = ("answer_p50_ms", "answer_p99_ms", "later_p99_ms")


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def _line(row: Row) -> str:
    own = row["system"].startswith("spillway")
    cells = [
        f"{row['load']}, {row['offered_per_s']:.0f}/s",
        f"**{row['system']}**" if own else row["system"],
        f"{_figure(row['photos_per_s'], 1)}{', ended' if row['killed'] else ''}",
        _figure(row["thumbs_per_s"], 1),
        _figure(row["of_capacity"], 2),
        _figure(row["per_cpu_left"], 2),
        str(row["refused"]),
        str(row["reset"] + row["unanswered"]),
        _figure(row["refusal_p99_ms"], 0),
        " · ".join(_figure(row[name], 0) for name in _ANSWER) if own else "",
        _figure(row["peak_mb"], 0),
    ]
    return f"| {' | '.join(cells)} |\n"


def write(rows: Iterable[Row], load_average: float, page: Path) -> None:
    """Put the table between the two marks of `page`; everything else there stays as it is."""
    text = page.read_text()
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    note = f"\nLoad average of the machine before: {load_average:.1f}.\n"
    table = "".join([_HEAD, *map(_line, rows), note])
    page.write_text(f"{before}{_BEGIN}\n{table}{_END}{after}")
