"""The ledger of one act: what was sent, answered, promised and kept."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.stampede.http_client import Answer


def share(values: Sequence[float], part: float) -> float | None:
    """The value below which `part` of them lie (nearest rank); None of nothing."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else None


@dataclass(slots=True)
class Ledger:
    """Counts of one act. Times are seconds."""

    photos: int = 0
    """What clients came with, however often each was sent."""
    addresses: set[str | None] = field(default_factory=set)
    """Where they came from; None: whatever the system takes."""
    sent: int = 0
    """Requests, those of clients that came back included."""
    answers: Counter[int] = field(default_factory=Counter)
    guards: Counter[str] = field(default_factory=Counter)
    previews: Counter[str] = field(default_factory=Counter)
    unseen: Counter[str] = field(default_factory=Counter)
    left: int = 0
    """Uploads whose client hung up, which is no fault of the server's."""
    refusal_s: list[float] = field(default_factory=list)
    named: int = 0
    """Answers that name the moment to come back at."""

    promised: int = 0
    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    deferred: int = 0
    """Jobs done of which some variants come later."""
    wait_s: list[float] = field(default_factory=list)
    told_s: list[float] = field(default_factory=list)

    turned_away: int = 0
    """Patient clients that found the queue full and were told when to come back."""
    first_return: int = 0
    """Those of them that got in when they came back for the first time."""
    got_in: int = 0
    """Those of them that got in at all."""
    late_s: list[float] = field(default_factory=list)
    """Of each that got in at last: from the moment it was first promised to its 202."""

    def count(self, answer: Answer) -> None:
        """Enter an upload's answer."""
        self.answers[answer.status] += 1
        self.named += answer.retry_after is not None
        document = answer.json()
        if answer.status == 200:
            self.previews[str((document.get("preview") or {}).get("kind", "none"))] += 1
        elif answer.status == 202:
            self.promised += 1
            if isinstance(told := document.get("estimated_wait_ms"), int | float):
                self.told_s.append(told / 1000)
        elif answer.status >= 400:
            if answer.status in (429, 503):  # told before the body was read; a 408 took its time by design
                self.refusal_s.append(answer.seconds)
            if guard := document.get("guard"):
                self.guards[str(guard)] += 1

    @property
    def open(self) -> int:
        """Accepted jobs whose end has not been seen yet."""
        return self.promised - self.done - self.failed.total() - self.lost

    @property
    def whole(self) -> bool:
        """Whether nothing was lost: every answer seen, every accepted job done."""
        return not self.unseen and self.done == self.promised

    def figures(self) -> dict[str, Any]:
        """All of it as plain data."""
        mean = sum(self.late_s) / len(self.late_s) if self.late_s else None
        return {
            "photos": self.photos,
            "addresses": len(self.addresses),
            "sent": self.sent,
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "guards": dict(sorted(self.guards.items())),
            "previews": dict(sorted(self.previews.items())),
            "unseen": dict(self.unseen),
            "left": self.left,
            "moments_named": self.named,
            "refusal_ms": _spread(self.refusal_s, 1000),
            "promised": self.promised,
            "kept": self.done,
            "failed": dict(self.failed),
            "lost": self.lost,
            "deferred": self.deferred,
            "open": self.open,
            "wait_s": _spread(self.wait_s),
            "wait_told_s": _spread(self.told_s),
            "turned_away": self.turned_away,
            "in_at_first_return": self.first_return,
            "in_at_last": self.got_in,
            "promise_error_s": None if mean is None else round(mean, 3),
        }


def _spread(values: Sequence[float], unit: float = 1) -> dict[str, float | None]:
    shown = {"p50": share(values, 0.5), "p99": share(values, 0.99)}
    return {name: None if value is None else round(value * unit, 3) for name, value in shown.items()}
