"""Send many damaged images to real worker processes; no worker may be lost and no answer may be wrong.

Every input takes the path of an upload: `app.engine.worker_pool` hands it to `python -m workers`, a fork of
which confines itself and does the work. Inputs that ended a process, took too long or were answered wrongly
are saved.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from app.backpressure.circuit_breaker import CircuitBreaker
from app.engine.worker_pool import Worker, WorkerPool
from app.engine.worker_process import WorkerProcessFailed
from app.runtime.cgroup import usable_cpus
from bench.fuzz.cases import Case, damaged, intact
from bench.fuzz.judge import faults, is_death, outcome
from bench.fuzz.seeds import Seed, seeds
from workers.messages import Done, Failed

_WHOLE_EVERY = 250
_KEPT_OF_A_KIND = 5
_PROGRESS_S = 30.0
_FOUND = Path(tempfile.gettempdir()) / "spillway-fuzz-found"


@dataclass(slots=True)
class Log:
    """The outcomes of a run."""

    saved: Path
    inputs: Counter[str] = field(default_factory=Counter)
    outcomes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    whole: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    started: float = field(default_factory=time.monotonic)

    @property
    def count(self) -> int:
        """The number of damaged inputs so far."""
        return self.inputs.total()

    def note(self, case: Case, answer: Done | Failed, complaints: list[str], seconds: float) -> None:
        """Record one answer, and save its input where that is worth a look."""
        word = outcome(answer)
        if case.way == "none":
            self.whole += 1
        else:
            self.inputs[case.format] += 1
            self.outcomes[case.format][word] += 1
        self.slowest = max(self.slowest, (seconds, case.name))
        if complaints:
            self.wrong.append(f"{self._keep(case, 'wrong')}: {'; '.join(complaints)}")
        elif is_death(answer):
            self.deaths.append(f"{self._keep(case, word)}: {word}")
        elif word in ("too-slow", "too-much-memory") and self.outcomes[case.format][word] <= _KEPT_OF_A_KIND:
            self._keep(case, word)

    def note_loss(self, case: Case, error: WorkerProcessFailed) -> None:
        """Record a worker process that did not survive an input."""
        self.inputs[case.format] += 1
        self.outcomes[case.format]["lost"] += 1
        self.lost.append(f"{self._keep(case, 'lost')}: {error}")

    def _keep(self, case: Case, word: str) -> str:
        name = f"{word}-{case.name}.{case.format}"
        self.saved.mkdir(parents=True, exist_ok=True)
        (self.saved / name).write_bytes(case.data)
        (self.saved / f"{name}.txt").write_text(f"{case.way}\n{' '.join(case.variants)}\n{case.limits}\n")
        return f"{name} ({case.way})"

    def line(self) -> str:
        """The progress of the run in one line."""
        seconds = time.monotonic() - self.started
        return (
            f"{seconds:6.0f} s  {self.count:7} inputs  {self.count / seconds:5.0f}/s  "
            f"lost {len(self.lost)}  wrong {len(self.wrong)}  deaths {len(self.deaths)}"
        )

    def summary(self, run: int, children: int) -> str:
        """The final report: a table by format and outcome, and what was found."""
        words = sorted({word for counts in self.outcomes.values() for word in counts})
        rows = [["format", "inputs", *words]]
        for format_ in sorted(self.inputs):
            counts = self.outcomes[format_]
            rows.append([format_, str(self.inputs[format_]), *(str(counts[word]) for word in words)])
        sums = [str(sum(counts[word] for counts in self.outcomes.values())) for word in words]
        rows.append(["all", str(self.count), *sums])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        seconds = time.monotonic() - self.started
        return "\n".join(
            [
                f"run {run}, {children} children, {seconds:.0f} s, {self.count / seconds:.0f} inputs/s",
                *table,
                f"whole images in between, all made: {self.whole}",
                f"slowest: {self.slowest[0]:.2f} s ({self.slowest[1]})",
                *_listed("children lost", self.lost),
                *_listed("wrong answers", self.wrong),
                *_listed("processes of one job that a signal ended", self.deaths),
            ]
        )


def _listed(what: str, lines: list[str]) -> list[str]:
    return [f"{what}: {len(lines)}", *(f"  {line}" for line in lines)]


class Run:
    """Sends `inputs` damaged files of the run with this `number`, or as many as `seconds` allow."""

    def __init__(self, number: int, inputs: int, seconds: float, log: Log) -> None:
        self._number = number
        self._inputs = inputs
        self._seconds = seconds
        self._seeds: list[Seed] = seeds()
        self._next = 0
        self.log = log

    def _cases(self) -> list[Case]:
        number = self._next
        self._next += 1
        case = damaged(self._seeds, self._number, number)
        if number % _WHOLE_EVERY:
            return [case]
        count = number // _WHOLE_EVERY
        return [intact(self._seeds[count % len(self._seeds)], count), case]

    @property
    def _over(self) -> bool:
        return self._next >= self._inputs or time.monotonic() - self.log.started > self._seconds

    async def feed(self, worker: Worker) -> None:
        """Give inputs to one worker until the run is over; a worker process that is lost is replaced."""
        while not self._over:
            for case in self._cases():
                await self._throw(worker, case)

    async def _throw(self, worker: Worker, case: Case) -> None:
        with tempfile.TemporaryDirectory(prefix="spillway-fuzz-") as folder:
            began = time.monotonic()
            try:
                answer = await worker.run(case.job(Path(folder)))
            except WorkerProcessFailed as error:
                self.log.note_loss(case, error)
                await worker.restart()
                return
            seconds = time.monotonic() - began
            self.log.note(case, answer, faults(case, answer, Path(folder) / "made"), seconds)

    async def report(self) -> None:
        """Print the progress every half minute."""
        while True:
            await asyncio.sleep(_PROGRESS_S)
            print(self.log.line(), flush=True)


async def _fuzz(run: Run, children: int) -> None:
    pool = WorkerPool(children, CircuitBreaker("workers"))
    await pool.start()
    print(f"confined by {pool.sandbox}", flush=True)
    reporting = asyncio.create_task(run.report())
    try:
        await asyncio.gather(*(run.feed(worker) for worker in pool.workers))
    finally:
        reporting.cancel()
        await pool.stop()


def main() -> int:
    """Run as the arguments say. Returns 1 when a worker process was lost or an answer was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="?", type=int, default=100_000, help="damaged images (%(default)s)")
    parser.add_argument("seconds", nargs="?", type=float, default=3600, help="time limit (%(default)s)")
    parser.add_argument("--run", type=int, default=1, help="the same number gives the same files")
    parser.add_argument("--children", type=int, default=usable_cpus(), help="warm children (CPUs)")
    parser.add_argument("--saved", type=Path, default=_FOUND, help="folder for what is found (%(default)s)")
    given = parser.parse_args()
    log = Log(given.saved)
    run = Run(given.run, given.inputs, given.seconds, log)
    asyncio.run(_fuzz(run, given.children))
    print(log.summary(given.run, given.children), flush=True)
    return 1 if log.lost or log.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
