"""The rounds of an overload bench as one row for each load and system."""

from collections.abc import Iterable, Mapping
from typing import Any

from bench.rig import median

Row = Mapping[str, Any]

_ADDED = ("reset", "unanswered")
"""Figures that no round may hide: they are added up."""


def medians(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Medians over the rounds, in the order of the first; `killed` is true if it was so in any of them."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["load"], row["system"]), []).append(row)
    return [_median(group) for group in groups.values()]


def _median(group: list[Row]) -> dict[str, Any]:
    found = dict(group[0])
    for name, first in found.items():
        values = [row[name] for row in group if row[name] is not None]
        if isinstance(first, bool):
            found[name] = any(values)
        elif name in _ADDED:
            found[name] = sum(values)
        elif values and not isinstance(values[0], str):
            found[name] = median(values)
            if all(isinstance(value, int) for value in values):
                found[name] = round(found[name])
    return found
