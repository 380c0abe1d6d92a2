"""Past saturation: photos finished and refusals seen, compared with what people build instead of Spillway.

    python -m bench.overload [--quick | --seconds 20] [--rounds 1] [--json FILE] [--docs DIR]
    python -m bench.overload --systems spillway --levels 10 30 --seconds 60 --rounds 3

Clients upload a 12 MP photo each, from a loopback address of their own, at 0.5 to 30 times what Spillway can
do. They arrive whether or not the server keeps up (an open loop), from a process of their own on the same
cores. At each level the systems are measured one after the other, each started anew, and judged from outside:
a photo counts once the last of its four variants is on disk. First the capacity of each is measured, with a
short queue that neither fills nor runs empty. After the levels come capacity beside 150 uploads that trickle,
and Spillway's brownout, with the thumbnails that are embedded in photos and by decoding alone.

Everything stays on the loopback and stops by itself: a server that takes `--memory` GiB is ended, and its
level with it.
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from bench.overload import page
from bench.overload.charts import draw
from bench.overload.crowd import Plan
from bench.overload.level import Level, run
from bench.overload.rounds import medians
from bench.overload.systems import System, baselines, spillway_system
from bench.photos import photo_file
from bench.rig import Report, machine, options

_WARM_S = 4.0
"""Seconds before the window that is measured. In them an empty queue and all receiving slots are filled."""
_BURST = 16
"""Photos at once when capacity is measured: enough that the workers never wait, too few to be refused."""
_DRIPS = 150
_SPARE = 1.05
"""How much more than it drains comes in while capacity is measured."""
_BROWNOUT_AT = 10.0
_BROWNOUTS = {"spillway, brownout": "on", "spillway, brownout, decoded": "decoded"}
"""With the thumbnails embedded in photos, and as it is for photos that have none."""
_TABLE = (
    *("offered_per_s", "photos_per_s", "of_capacity", "per_cpu_left", "thumbs_per_s", "accepted", "refused"),
    *(
        "reset",
        "unanswered",
        "refusal_p99_ms",
        "answer_p50_ms",
        "answer_p99_ms",
        "later_p99_ms",
        "wait_p99_s",
        "told_p99_s",
        "wait_of_told_p99",
        "kept",
    ),
    *("peak_mb", "server_growth_mb", "others_cores"),
)
"""What is printed, as medians of the rounds; the file has more, of each round."""


def _options() -> Namespace:
    parser = options(__doc__, rounds=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one level (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="5 seconds, for a glance")
    parser.add_argument("--levels", type=float, nargs="*", default=[0.5, 1, 3, 10, 30], help="times capacity")
    parser.add_argument("--systems", nargs="*", metavar="WORD", help="those whose names begin so")
    parser.add_argument("--photo", type=Path, help="a JPEG to send instead of our own")
    parser.add_argument("--scratch", type=Path, help="keep images and logs there")
    parser.add_argument(
        "--docs", type=Path, metavar="DIR", help="draw overload.svg there, and mend benchmarks.md"
    )
    parser.add_argument("--memory", type=float, default=8.0, help="GiB that end a server (%(default)s)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds = 5.0
    return chosen


@contextmanager
def _scratch(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen.resolve()
        return
    with TemporaryDirectory(prefix="spillway-bench-") as name:
        yield Path(name)


class Bench:
    """Runs levels and keeps a row of figures for each."""

    def __init__(self, chosen: Namespace, scratch: Path) -> None:
        self._photo = chosen.photo or photo_file(scratch, "jpeg", 12)
        self._seconds, self._memory = chosen.seconds, int(chosen.memory * 2**30)
        self._scratch = scratch
        self._capacity: dict[str, Level] = {}
        self.rows: list[dict[str, Any]] = []

    def measure_capacity(self, system: System) -> None:
        """Measure how many photos a second a system finishes while its queue neither fills nor runs empty."""
        burst = self._run(system, Plan(0, 30, burst=_BURST), warm=0, until=_BURST)
        rate = _SPARE * _BURST / max(burst.finished_s, 0.1)
        plan = Plan(rate, self._seconds + _WARM_S, burst=_BURST, evenly=True)
        self._capacity[system.name] = self._row(system, "capacity", plan)

    def at(self, system: System, times: float) -> None:
        """Run one level: `times` the capacity of the first system, which is Spillway's if it takes part."""
        rate = times * self._first().goodput
        self._row(system, f"{times:g}x", Plan(rate, self._seconds + _WARM_S))

    def beside_drips(self, system: System) -> None:
        """Measure the capacity while slow uploads hold connections and receiving slots."""
        rate = self._capacity[system.name].goodput
        plan = Plan(rate, self._seconds + _WARM_S, burst=_BURST, evenly=True, drips=_DRIPS)
        self._row(system, f"{_DRIPS} drips", plan)

    def _first(self) -> Level:
        return next(iter(self._capacity.values()))

    def _row(self, system: System, load: str, plan: Plan) -> Level:
        level = self._run(system, plan, _WARM_S, None)
        capacity = level if load == "capacity" else self._capacity.get(system.name) or self._first()
        row = {"system": system.name, "load": load} | level.row(capacity)
        self.rows.append(row)
        print(f"{system.name}, {load}: {level.goodput:.2f} photos/s, {row['statuses']}", file=sys.stderr)
        return level

    def _run(self, system: System, plan: Plan, warm: float, until: int | None) -> Level:
        folder = Path(mkdtemp(dir=self._scratch, prefix=system.name.partition(" ")[0] + "-"))
        return run(system, folder, self._photo, plan, warm, until, self._memory)


def _measure(bench: Bench, systems: list[System], levels: list[float]) -> None:
    for system in systems:
        bench.measure_capacity(system)
    for times in levels:
        for system in systems:
            bench.at(system, times)
    for system in systems:
        bench.beside_drips(system)
    if systems[0].name == "spillway":
        for name, brownout in _BROWNOUTS.items():
            bench.at(spillway_system(name, brownout=brownout), _BROWNOUT_AT)


def main() -> None:
    """Measure all, and report."""
    chosen = _options()
    load = os.getloadavg()[0]
    with _scratch(chosen.scratch) as scratch:
        bench = Bench(chosen, scratch)
        systems = [spillway_system("spillway", brownout="off"), *baselines(scratch)]
        if chosen.systems:
            systems = [one for one in systems if one.name.startswith(tuple(chosen.systems))]
        for _ in range(chosen.rounds):
            _measure(bench, systems, chosen.levels)
    report = Report("bench.overload")
    for row in medians(bench.rows):
        report.add(system=row["system"], load=row["load"], **{name: row[name] for name in _TABLE})
    report.notes.append(
        "of capacity, per cpu left: of the same system's photos per second, and photos per CPU second that "
        f"crowd and others left to it, at its capacity. Load average before: {load:.2f}."
    )
    report.show(None)
    if chosen.json:
        document = {"bench": report.bench, "machine": machine(), "load_average": load, "rows": bench.rows}
        chosen.json.write_text(json.dumps(document, indent=1) + "\n")
    if chosen.docs:
        print(draw(bench.rows, chosen.docs))
        page.write(medians(bench.rows), load, chosen.docs / "benchmarks.md")


if __name__ == "__main__":
    main()
