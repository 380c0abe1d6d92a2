"""One level of load: a system is started anew, gets the uploads of one plan, and is measured."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.overload.crowd import Answer, Plan
from bench.overload.systems import System
from bench.overload.witness import VARIANTS, Reading, Witness, finished
from bench.rig import ROOT

_CORES = len(os.sched_getaffinity(0))
_SLACK = 1.25
"""The factor by which an upload may wait longer than its estimate."""


@dataclass(frozen=True, slots=True)
class Level:
    """What was measured in a window between two readings of the CPU."""

    plan: Plan
    before: Reading
    after: Reading
    answers: Sequence[Answer]
    photos: dict[str, dict[str, float]]
    late_p99_s: float
    drips_ended: int
    idle: int
    peak: int
    main_growth: int
    killed: bool

    @property
    def _window_s(self) -> float:
        return self.after.at - self.before.at

    def _within(self, moments: Sequence[float]) -> int:
        return sum(self.before.at <= moment < self.after.at for moment in moments)

    @property
    def goodput(self) -> float:
        """Photos a second whose last variant was written within the window."""
        whole = [max(made.values()) for made in self.photos.values() if made.keys() == VARIANTS]
        return self._within(whole) / self._window_s

    @property
    def thumbs(self) -> float:
        """Smallest variants written a second."""
        smallest = [made["thumb"] for made in self.photos.values() if "thumb" in made]
        return self._within(smallest) / self._window_s

    @property
    def finished_s(self) -> float:
        """Seconds from the start to the last photo."""
        return max((max(made.values()) for made in self.photos.values()), default=math.inf) - self.before.at

    @property
    def left_s(self) -> float:
        """CPU seconds per second that the load generator and other processes left to the server."""
        crowd = self.after.crowd - self.before.crowd
        return _CORES - (crowd + self._others_s) / self._window_s

    @property
    def _others_s(self) -> float:
        server = self.after.server - self.before.server
        crowd = self.after.crowd - self.before.crowd
        return 0.0 if self.killed else max(0.0, self.after.all - self.before.all - server - crowd)

    def row(self, capacity: "Level") -> dict[str, Any]:
        """The figures of this level; ratios are to the same system's capacity."""
        statuses = Counter(answer.status for answer in self.answers)
        refused = [answer for answer in self.answers if answer.status in (429, 503)]
        turned_away = len(self.answers) - statuses[202]
        window = self._window_s
        per_left = self.goodput / self.left_s
        waits = self._waits(capacity)
        return {
            "offered_per_s": len(self.answers) / self.plan.seconds,
            "photos_per_s": self.goodput,
            "of_capacity": self.goodput / max(capacity.goodput, 1e-9),
            "per_cpu_left": per_left / max(capacity.goodput / capacity.left_s, 1e-9),
            "thumbs_per_s": self.thumbs,
            "accepted": statuses[202],
            "refused": len(refused),
            "reset": statuses[0],
            "unanswered": statuses[-1],
            "seen": len(refused) / turned_away if turned_away else None,
            "refusal_p99_ms": _p99([answer.first_s * 1000 for answer in refused]),
            "read_p99_ms": _p99([answer.read_s * 1000 for answer in refused]),
            "answer_p50_ms": _percentile(uploads := self._accepted_ms(), 50),
            "answer_p99_ms": _percentile(uploads, 99),
            "later_p99_ms": _p99(self._accepted_ms(since=self.before.at)),
            "wait_p99_s": _p99([wait for wait, _ in waits]),
            "told_p99_s": _p99([told for _, told in waits]),
            "wait_of_told_p99": _p99([wait / told for wait, told in waits if told]),
            "kept": sum(wait <= told * _SLACK for wait, told in waits) / len(waits) if waits else None,
            "idle_mb": self.idle / 1e6,
            "peak_mb": self.peak / 1e6,
            "server_growth_mb": self.main_growth / 1e6,
            "server_cores": None if self.killed else (self.after.main - self.before.main) / window,
            "all_cores": None if self.killed else (self.after.server - self.before.server) / window,
            "crowd_cores": (self.after.crowd - self.before.crowd) / window,
            "others_cores": self._others_s / window,
            "late_p99_ms": self.late_p99_s * 1000,
            "drips_ended": self.drips_ended,
            "killed": self.killed,
            "statuses": " ".join(f"{status}:{count}" for status, count in sorted(statuses.items())),
        }

    def _accepted_ms(self, since: float = 0.0) -> list[float]:
        """Milliseconds from connecting to the whole 202, of each accepted upload that came after `since`."""
        accepted = (answer for answer in self.answers if answer.status == 202 and answer.at >= since)
        return [answer.read_s * 1000 for answer in accepted]

    def _waits(self, capacity: "Level") -> list[tuple[float, float]]:
        """Seconds in the queue and estimated seconds, for uploads due before the end of the load.

        One that was not done by then counts as having waited until then.
        """
        job_s = _CORES / max(capacity.goodput, 1e-9)
        found = []
        for answer in self.answers:
            if answer.id is None or answer.estimate_s is None:
                continue
            accepted = answer.at + answer.read_s
            if self.before.at <= accepted and accepted + job_s + answer.estimate_s * _SLACK <= self.after.at:
                made = self.photos.get(answer.id, {})
                end = max(made.values()) if made.keys() == VARIANTS else self.after.at
                found.append((max(0.0, end - accepted - job_s), answer.estimate_s))
        return found


def _percentile(values: Sequence[float], percent: int) -> float | None:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1] if values else None


def _p99(values: Sequence[float]) -> float | None:
    return _percentile(values, 99)


def run(
    system: System, folder: Path, photo: Path, plan: Plan, warm: float, until: int | None, limit: int
) -> Level:
    """Start the system, send the load, and measure from `warm` seconds on until the load ends.

    With `until`, the level ends as soon as that many photos are finished. `limit` is in bytes of memory.
    """
    command = [sys.executable, "-m", "bench.overload.crowd"]
    with system.start(folder) as serving:
        crowd = subprocess.Popen(
            [*command, str(serving.port), str(photo), json.dumps(asdict(plan))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == b"ready\n"
            witness = Witness(serving, crowd.pid, limit)
            with witness.watching():
                assert crowd.stdin is not None
                crowd.stdin.write(b"go\n")
                crowd.stdin.flush()
                time.sleep(warm)
                before = witness.reading()
                _sleep(plan.seconds - warm, folder, until)
                after = witness.reading()
            if until is not None:
                crowd.kill()
                found: dict[str, Any] = {"answers": [], "late_p99_s": 0.0, "drips_ended": 0}
            else:
                found = json.loads(crowd.communicate(timeout=plan.patience + 60)[0])
        finally:
            crowd.kill()
            crowd.communicate()
            with suppress(ProcessLookupError):
                os.kill(serving.pid, signal.SIGKILL)  # what it still has to do is not measured
    return Level(
        plan,
        before,
        after,
        [Answer(*answer) for answer in found["answers"]],
        finished(folder),
        found["late_p99_s"],
        found["drips_ended"],
        witness.idle,
        witness.peak,
        witness.peak_main - witness.idle_main,
        witness.exceeded,
    )


def _sleep(seconds: float, folder: Path, until: int | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if until is not None and sum(made.keys() == VARIANTS for made in finished(folder).values()) >= until:
            return
        time.sleep(left if until is None else min(left, 0.1))
