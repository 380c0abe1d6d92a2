"""Measure how the cost of each operation grows.

python -m bench.growth [--only PART-OF-A-NAME] [--json FILE]
"""

import asyncio

from bench.growth import in_memory, store, watchers
from bench.growth.measure import measure
from bench.rig import Report, options


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, rounds=1)
    parser.add_argument("--only", default="", help="only what has this in its name")
    given = parser.parse_args()
    report = Report("bench.growth")
    for growth in (*in_memory.GROWTHS, *watchers.GROWTHS, *store.GROWTHS):
        if given.only not in growth.name:
            continue
        costs = [asyncio.run(measure(growth, size)) for size in growth.sizes]
        for operation in costs[0]:
            at = [cost[operation] for cost in costs]
            report.add(
                what_grows=growth.name,
                operation=operation,
                at=", ".join(f"{size:,}" for size in growth.sizes),
                **{
                    f"us_{number}": cost.us for number, cost in zip(("small", "x10", "x100"), at, strict=True)
                },
                held_ms=at[-1].held_ms,
            )
    report.notes.append(
        "us: the median, in microseconds, at each of the three sizes; of CPU, where it waits. "
        "held: the longest time for which the event loop did nothing else, at the largest size."
    )
    report.show(given.json)


if __name__ == "__main__":
    main()
