"""Draws the charts of the overload bench from the figures that it wrote.

    python -m bench.overload.charts FIGURES.json DIR

One picture, `overload.svg`, of four panels over the load offered: photos finished, memory, how long a refusal
takes, and the share of refused clients that saw their refusal. Spillway is the thick line.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.rig import median

Row = Mapping[str, Any]

_INK, _FAINT = "#1f2933", "#d9dee4"
_COLOURS = {
    "spillway": "#0b6bcb",
    "fastapi tutorial": "#d1495b",
    "node + sharp": "#3d8b52",
    "go tutorial": "#c98a12",
}


class _Panel(NamedTuple):
    title: str
    figure: Callable[[Row], float | None]
    unit: str
    logarithmic: bool = False


def _of(name: str, scale: float = 1.0) -> Callable[[Row], float | None]:
    return lambda row: None if row[name] is None else row[name] * scale


_PANELS = (
    _Panel("Goodput", _of("photos_per_s"), "photos finished per second"),
    _Panel("Memory, at its peak", _of("peak_mb"), "MB, the server and its workers", logarithmic=True),
    _Panel("How long a refusal takes", _of("refusal_p99_ms"), "ms, 99th percentile", logarithmic=True),
    _Panel("Refused, and saw it", _of("seen", 100), "% who saw an answer"),
)


def draw(rows: Iterable[Row], folder: Path) -> Path:
    """Write the picture into `folder` from `rows` as `bench.overload` reports them. Returns its path."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams |= {
        "svg.hashsalt": "overload",  # the same figures make the same file
        "font.size": 11,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _FAINT,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    levels = [row for row in rows if row["load"].endswith("x")]
    names = [name for name in _COLOURS if any(row["system"] == name for row in levels)]
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.2), facecolor="white")
    for panel, axis in zip(_PANELS, axes.flat, strict=True):
        for name in reversed(names):
            _line(axis, panel, name, [row for row in levels if row["system"] == name])
        _dress(axis, panel, sorted({_times(row) for row in levels}))
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], loc="upper center", ncols=len(names), frameon=False, fontsize=12
    )
    figure.tight_layout(rect=(0, 0, 1, 0.94), h_pad=2.0, w_pad=2.5)
    path = folder / "overload.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _times(row: Row) -> float:
    return float(row["load"].removesuffix("x"))


def _line(axis: Any, panel: _Panel, name: str, rows: Sequence[Row]) -> None:
    """Draw medians over the rounds; a line ends in a cross where a server was ended for its memory."""
    points = []
    for times in sorted({_times(row) for row in rows}):
        here = [row for row in rows if _times(row) == times]
        figures = [value for row in here if (value := panel.figure(row)) is not None]
        if figures:
            points.append((times, median(figures), any(row["killed"] for row in here)))
    own = name == "spillway"
    axis.plot(
        [x for x, _, _ in points],
        [y for _, y, _ in points],
        label=name,
        color=_COLOURS[name],
        linewidth=3.5 if own else 1.8,
        marker="o",
        markersize=7 if own else 5,
        clip_on=False,
        zorder=3 if own else 2,
    )
    dead = [(x, y) for x, y, killed in points if killed]
    axis.plot([x for x, _ in dead], [y for _, y in dead], "x", color=_COLOURS[name], markersize=13, zorder=4)


def _dress(axis: Any, panel: _Panel, levels: Sequence[float]) -> None:
    axis.set_title(panel.title, loc="left", fontsize=13, fontweight="bold")
    axis.set_ylabel(panel.unit)
    axis.set_xlabel("load offered, times capacity")
    axis.set_xscale("log")
    axis.set_xticks(levels, [f"{level:g}×" for level in levels])  # noqa: RUF001 - the sign it is
    axis.minorticks_off()
    if panel.logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
        axis.yaxis.set_minor_formatter("")
    else:
        axis.set_ylim(bottom=0)
    axis.grid(axis="y", color=_FAINT, linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw figures that were measured before."""
    print(draw(json.loads(Path(sys.argv[1]).read_text())["rows"], Path(sys.argv[2])))


if __name__ == "__main__":
    main()
