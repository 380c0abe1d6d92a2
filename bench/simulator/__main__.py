"""Does a Retry-After keep its word? Four ways to compute it, with the same crowds, in simulated time.

    python -m bench.simulator [--seeds 3] [--policy reservations ...] [--crowd 5 ...] [--quick]

Two workers with jobs of .2 s on average, queues of 20 and of 100 jobs. For each crowd and policy:

    first    share of refused, patient clients admitted when they came back as told (in brackets: worst seed)
    used     share of time in which workers were busy while a refused client was not admitted yet (worst seed)
    ignoring seconds gained by asking every second instead of waiting as told
    error    mean seconds from the moment that a client was told first to its admission
    after    mean seconds from the arrival of refused, patient clients to their admission
    wait     longest wait in the queue, in seconds

`--quick` simulates reservations alone, with some of the crowds, and fails where they miss the target.
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
MIN_FIRST, MIN_USED = 0.99, 0.96
_WORKERS = 2
_QUICK_CROWDS = (
    "5 x",
    "500 at once",
    "5 x, 20 % impatient",
    "5 x, 30 % leave",
    "3 x, albums of ten",
    "2 x, ghosts",
)


@dataclass(frozen=True)
class Row:
    """One policy with one crowd, over some seeds."""

    crowd: str
    queue: int
    policy: str
    outcomes: tuple[Outcome, ...]

    @property
    def first(self) -> float:
        """The mean share of clients that were admitted at their first return."""
        return self._mean(lambda one: one.first)

    @property
    def used(self) -> float:
        """The mean utilisation."""
        return self._mean(lambda one: one.utilisation)

    @property
    def gain_s(self) -> float | None:
        """The mean seconds that impatience gained; None where no client was impatient."""
        if all(one.gain_s is None for one in self.outcomes):
            return None
        return self._mean(lambda one: one.gain_s, 0)

    def __str__(self) -> str:
        worst_first = min(one.first for one in self.outcomes if one.first is not None)
        worst_used = min(one.utilisation for one in self.outcomes if one.utilisation is not None)
        gain = "" if self.gain_s is None else f"{self.gain_s:+.1f}"
        error = self._mean(lambda one: one.error_s, 0)
        after = self._mean(lambda one: one.admitted_after_s, 0)
        wait = max(one.wait_s for one in self.outcomes)
        return (
            f"{self.queue:5}  {self.crowd:29} {self.policy:13} {self.first:6.3f} ({worst_first:.3f})"
            f" {self.used:6.3f} ({worst_used:.3f}) {gain:>9} {error:7.1f} {after:6.1f} {wait:6.1f}"
        )

    def _mean(self, figure: Callable[[Outcome], float | None], otherwise: float = 1) -> float:
        found = [value for one in self.outcomes if (value := figure(one)) is not None]
        return fmean(found) if found else otherwise


HEAD = (
    "queue  crowd                         policy        first (worst)   used (worst)"
    "  ignoring   error  after   wait"
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
    """The rows for the regression test."""
    for queue in QUEUES:
        for crowd in CROWDS:
            if crowd.name in _QUICK_CROWDS:
                yield simulate(crowd, queue, "reservations", (0,))


def keeps_its_word(row: Row) -> bool:
    """Whether first returns and utilisation reach their targets, and impatience does not pay."""
    return row.first >= MIN_FIRST and row.used >= MIN_USED and (row.gain_s or 0) <= 0


def main() -> int:
    """Print the table; gives 1 when `--quick` finds a row that misses the target."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulator", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("--policy", nargs="+", choices=list(POLICIES), default=list(POLICIES))
    parser.add_argument("--crowd", nargs="+", default=[""], help="what the names of crowds begin with")
    parser.add_argument(
        "--quick", action="store_true", help="reservations alone; fails where they miss the target"
    )
    options = parser.parse_args()
    print(HEAD, flush=True)
    if options.quick:
        missed = 0
        for row in quick():
            if keeps_its_word(row):
                print(row, flush=True)
            else:
                missed += 1
                print(row, "  MISSED", flush=True)
        return min(missed, 1)
    for queue in QUEUES:
        for crowd in CROWDS:
            if not crowd.name.startswith(tuple(options.crowd)):
                continue
            for policy in options.policy:
                print(simulate(crowd, queue, policy, range(options.seeds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
