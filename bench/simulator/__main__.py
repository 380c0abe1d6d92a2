"""Does a Retry-After keep its word? Four ways to hand it out, before the same crowds, in simulated time.

    python -m bench.simulator [--seeds 3] [--policy turns ...] [--crowd 5 ...] [--quick]

Two workers with jobs of .2 s on average, queues of 20 and of 100. For each crowd and policy:

    first    share of the patient refused who got in when they came back as told (in brackets: worst seed)
    used     share of the workers' time used while anybody who had been refused was not in yet (worst seed)
    ignoring seconds gained by asking every second instead
    error    mean seconds from the moment that was told first to the place
    wait     longest wait in the queue, seconds

`--quick` simulates turns alone, before some of the crowds, and fails where they miss the mark.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.simulator.crowds import CROWDS, Crowd
from bench.simulator.outcome import Outcome, outcome
from bench.simulator.policies import POLICIES
from bench.simulator.world import World

QUEUES = (20, 100)
LEAST_FIRST, LEAST_USED = 0.99, 0.96
_WORKERS = 2
_QUICK = ("5 x", "500 at once", "5 x, 20 % impatient", "5 x, 30 % leave", "3 x, albums of ten")


@dataclass(frozen=True)
class Row:
    """One policy before one crowd, over some seeds."""

    crowd: str
    queue: int
    policy: str
    outcomes: tuple[Outcome, ...]

    @property
    def first(self) -> float:
        """The mean share that got in at its first return."""
        return self._mean(lambda one: one.first)

    @property
    def used(self) -> float:
        """The mean utilisation."""
        return self._mean(lambda one: one.utilisation)

    @property
    def gain_s(self) -> float | None:
        """What the impatient gained, where there were any."""
        if all(one.gain_s is None for one in self.outcomes):
            return None
        return self._mean(lambda one: one.gain_s, 0)

    def __str__(self) -> str:
        worst_first = min(one.first for one in self.outcomes if one.first is not None)
        worst_used = min(one.utilisation for one in self.outcomes if one.utilisation is not None)
        gain = "" if self.gain_s is None else f"{self.gain_s:+.1f}"
        error = self._mean(lambda one: one.error_s, 0)
        wait = max(one.wait_s for one in self.outcomes)
        return (
            f"{self.queue:5}  {self.crowd:29} {self.policy:13} {self.first:6.3f} ({worst_first:.3f})"
            f" {self.used:6.3f} ({worst_used:.3f}) {gain:>9} {error:7.1f} {wait:6.1f}"
        )

    def _mean(self, figure: Callable[[Outcome], float | None], otherwise: float = 1) -> float:
        found = [value for one in self.outcomes if (value := figure(one)) is not None]
        return fmean(found) if found else otherwise


HEAD = (
    "queue  crowd                         policy        first (worst)   used (worst)  ignoring   error   wait"
)


def simulate(crowd: Crowd, queue: int, policy: str, seeds: Sequence[int]) -> Row:
    """One row of the table."""
    outcomes = []
    for seed in seeds:
        world = World(crowd, queue, _WORKERS, seed)
        world.run(POLICIES[policy](world))
        outcomes.append(outcome(world))
    return Row(crowd.name, queue, policy, tuple(outcomes))


def quick() -> Iterator[Row]:
    """What the regression test looks at."""
    for queue in QUEUES:
        for crowd in CROWDS:
            if crowd.name in _QUICK:
                yield simulate(crowd, queue, "turns", (0,))


def keeps_its_word(row: Row) -> bool:
    """Whether first returns and utilisation reach the mark, and impatience does not pay."""
    return row.first >= LEAST_FIRST and row.used >= LEAST_USED and (row.gain_s or 0) <= 0


def main() -> int:
    """Print the table; 1 when `--quick` finds a row that misses the mark."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulator", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("--policy", nargs="+", choices=list(POLICIES), default=list(POLICIES))
    parser.add_argument("--crowd", nargs="+", default=[""], help="words that a crowd's name begins with")
    parser.add_argument("--quick", action="store_true", help="turns alone; fails where they miss the mark")
    options = parser.parse_args()
    print(HEAD, flush=True)
    if options.quick:
        missed = False
        for row in quick():
            kept = keeps_its_word(row)
            missed |= not kept
            print(row, "" if kept else "  MISSED", flush=True)
        return int(missed)
    for queue in QUEUES:
        for crowd in CROWDS:
            if not crowd.name.startswith(tuple(options.crowd)):
                continue
            for policy in options.policy:
                print(simulate(crowd, queue, policy, range(options.seeds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
