"""What this tree costs beside an earlier commit: a short, paired comparison, to be run before a commit.

    python -m bench.check [COMMIT] [--rounds 5] [--json FILE]      (make bench-check AGAINST=COMMIT)

The commit (HEAD by default, so that what is not committed yet is compared with what is) is checked out into a
temporary worktree. In each round both trees start a service each, one after the other and in turns: how long
and how much CPU the start takes, the memory of the idle service, CPU and page faults of a 12 MP photo, and
CPU of a refusal. What is compared is the ratio of the two within a round, so that both meet the same noise.

`slower` is what costs more by more than its noise: the confidence interval of the ratio (99 %, one-sided, of
its logarithms, which Student's t gives for so few rounds) lies above 1, and the ratio above 1.01. Then the
exit status is 1. `noise` is half of that interval: a difference that is smaller cannot be seen in so few
rounds on so busy a machine. Compare a commit with itself to see what the machine allows.
"""

import math
import statistics
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.overload.witness import proportional, tree
from bench.photos import photo_file
from bench.refusals import EMPTY, refusal_us, sample
from bench.rig import ROOT, Report, median, options, spillway
from bench.throughput import OPEN, through_http

_QUANTILES = (6.965, 4.541, 3.747, 3.365, 3.143, 2.998, 2.896, 2.821)
"""Student's t for 99 %, one-sided, of 3 rounds and more."""
_LEAST = 0.01
"""Differences that are not worth a word, however certain."""
_IDLE_S = 1.0
_PHOTOS_S = 3.0
_CLIENTS = 4
_REFUSALS = 6000


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one figure has changed: the median ratio of this tree to the other, and the noise of that."""

    ratio: float
    noise: float

    @property
    def word(self) -> str:
        """`slower`, `faster` or nothing."""
        if abs(math.log(self.ratio)) <= max(self.noise, math.log1p(_LEAST)):
            return ""
        return "slower" if self.ratio > 1 else "faster"


def judge(ours: Sequence[float], theirs: Sequence[float]) -> Verdict:
    """Compare figures of as many rounds, of which less is better."""
    logs = [math.log(own / other) for own, other in zip(ours, theirs, strict=True)]
    spread = statistics.stdev(logs) / math.sqrt(len(logs))
    return Verdict(math.exp(statistics.fmean(logs)), _QUANTILES[len(logs) - 3] * spread)


@contextmanager
def checkout(commit: str, repository: Path = ROOT) -> Iterator[Path]:
    """A temporary worktree of a commit. Raises SystemExit if there is no such commit."""
    with TemporaryDirectory(prefix="spillway-check-") as name:
        folder = Path(name) / "tree"
        git = ["git", "-C", str(repository), "worktree"]
        added = subprocess.run(
            [*git, "add", "--detach", str(folder), commit], capture_output=True, text=True, check=False
        )
        if added.returncode:
            raise SystemExit(f"{commit} cannot be checked out: {added.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def measure(code: Path, photo: Path) -> dict[str, float]:
    """Start the service of a tree twice, and return its figures."""
    found: dict[str, float] = {}
    with TemporaryDirectory(prefix="spillway-bench-") as store:
        began = time.monotonic()
        with spillway(Path(store), code=code, **OPEN) as serving:
            found["start, s"] = time.monotonic() - began
            found["start, CPU s"] = serving.cpu_s()
            time.sleep(_IDLE_S)
            found["idle memory, MB"] = sum(proportional(pid) for pid in tree(serving.pid)) / 1e6
            before = serving.faults()
            photos = through_http(serving, photo.read_bytes(), _CLIENTS, _PHOTOS_S)
            found["photo: server CPU, ms"] = 1000 * photos.server_s
            found["photo: workers CPU, ms"] = 1000 * photos.workers_s
            found["photo: page faults"] = (serving.faults() - before) / photos.photos
    with (
        TemporaryDirectory(prefix="spillway-bench-") as store,
        spillway(Path(store), code=code, **EMPTY) as serving,
    ):
        sample(serving.port)
        found["refusal: CPU, µs"] = refusal_us(serving, 0, _REFUSALS)
    return found


def _rounds(text: str) -> int:
    count = int(text)
    if not 3 <= count < 3 + len(_QUANTILES):
        raise ArgumentTypeError(f"from 3 to {2 + len(_QUANTILES)}")
    return count


def main() -> int:
    """Compare, print what has changed, and return the exit status."""
    parser = options(__doc__, rounds=5, read_rounds=_rounds)
    parser.add_argument("commit", nargs="?", default="HEAD", help="to compare with (%(default)s)")
    chosen = parser.parse_args()
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="spillway-bench-") as name, checkout(chosen.commit) as other:
        photo = photo_file(Path(name), "jpeg", 12)
        for number in range(chosen.rounds):
            sides = [(ROOT, ours), (other, theirs)]
            for code, figures in sides if number % 2 else sides[::-1]:
                for what, value in measure(code, photo).items():
                    figures.setdefault(what, []).append(value)
            print(f"round {number + 1} of {chosen.rounds}", file=sys.stderr)
    report = Report("bench.check")
    words = []
    for what, values in ours.items():
        verdict = judge(values, theirs[what])
        words.append(verdict.word)
        report.add(
            **{"": what, chosen.commit: median(theirs[what]), "this tree": median(values)},
            ratio=verdict.ratio,
            noise=verdict.noise,
            verdict=verdict.word,
        )
    report.show(chosen.json)
    return int("slower" in words)


if __name__ == "__main__":
    sys.exit(main())
