"""The ledger of one act: what was sent, answered, promised and kept."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from app.stampede.http_client import Answer


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` (0 to 1) of all do not exceed (nearest rank); None of none."""
    if not values:
        return None
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]


@dataclass(slots=True)
class Ledger:
    """The counts of one act. Times are in seconds."""

    photos: int = 0
    """Uploads that clients came with, however often each was sent."""
    addresses: set[str] = field(default_factory=set)
    """Addresses that clients came from; the name of this machine, where the system chose."""
    sent: int = 0
    """Requests, repeated ones included."""
    answers: Counter[int] = field(default_factory=Counter)
    """Answers by status."""
    guards: Counter[str] = field(default_factory=Counter)
    """Refusals by the guard that refused."""
    previews: Counter[str] = field(default_factory=Counter)
    """Degraded answers by the kind of preview."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """Requests without a complete answer, by what went wrong."""
    hung_up: int = 0
    """Uploads whose client closed the connection itself, which is no fault of the server."""
    refusal_s: list[float] = field(default_factory=list)
    """How long each 429 and 503 took."""
    retry_afters: int = 0
    """Answers with a Retry-After."""

    promised: int = 0
    """Accepted uploads: each is a promise that its job will be done."""
    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Jobs that failed, by the title of their problem."""
    lost: int = 0
    """Accepted jobs that the server no longer knows."""
    deferred: int = 0
    """Jobs done, some of whose variants come later."""
    provisional: int = 0
    """Those of `deferred` of which the thumbnail in the photo is shown until then."""
    wait_s: list[float] = field(default_factory=list)
    """From the acceptance of each upload to the end of its job."""
    announced_wait_s: list[float] = field(default_factory=list)
    """The estimate with which each upload was accepted."""

    turned_away: int = 0
    """Patient clients that found the queue full and were told when to come back."""
    first_return: int = 0
    """Those of `turned_away` that got in when they came back for the first time."""
    got_in: int = 0
    """Those of `turned_away` that got in at all."""
    promise_error_s: list[float] = field(default_factory=list)
    """For each of `got_in`: from the time that its first 503 named to its acceptance."""

    def count(self, answer: Answer) -> None:
        """Count an upload's answer."""
        self.answers[answer.status] += 1
        if answer.retry_after is not None:
            self.retry_afters += 1
        document = answer.json()
        if answer.status == 200:
            self.previews[str((document.get("preview") or {}).get("kind", "none"))] += 1
        elif answer.status == 202:
            self.promised += 1
            if isinstance(estimate := document.get("estimated_wait_ms"), int | float):
                self.announced_wait_s.append(estimate / 1000)
        elif answer.status >= 400:
            if answer.status in (429, 503):  # these come before the body is read; a 408 is late by design
                self.refusal_s.append(answer.seconds)
            if guard := document.get("guard"):
                self.guards[str(guard)] += 1

    @property
    def found_full(self) -> bool:
        """Whether a client has found the queue full."""
        return bool(self.guards["queue"] or self.answers[200])

    @property
    def open(self) -> int:
        """Accepted jobs whose end has not been seen yet."""
        return self.promised - self.done - self.failed.total() - self.lost

    @property
    def kept_everything(self) -> bool:
        """Whether every request was answered and every accepted job done."""
        return not self.unanswered and self.done == self.promised

    def to_plain(self) -> dict[str, Any]:
        """All counts as plain data, of which JSON can be made."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: list(value) if isinstance(value, set) else value for name, value in plain.items()}

    def add_plain(self, other: dict[str, Any]) -> None:
        """Add the counts of another ledger, as read from JSON."""
        for name, value in other.items():
            mine = getattr(self, name)
            if isinstance(mine, int):
                setattr(self, name, mine + value)
            elif isinstance(mine, list):
                mine.extend(value)
            elif name == "answers":  # JSON has no numbers as names
                self.answers.update({int(status): count for status, count in value.items()})
            else:
                mine.update(value)

    def figures(self) -> dict[str, Any]:
        """The figures of the closing table, as plain data."""
        mean_error = None
        if self.promise_error_s:
            mean_error = round(sum(self.promise_error_s) / len(self.promise_error_s), 3)
        return {
            "photos": self.photos,
            "addresses": len(self.addresses),
            "sent": self.sent,
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "guards": dict(sorted(self.guards.items())),
            "previews": dict(sorted(self.previews.items())),
            "unseen": dict(self.unanswered),
            "left": self.hung_up,
            "moments_named": self.retry_afters,
            "refusal_ms": _percentiles(self.refusal_s, 1000),
            "promised": self.promised,
            "kept": self.done,
            "failed": dict(self.failed),
            "lost": self.lost,
            "deferred": self.deferred,
            "provisional": self.provisional,
            "open": self.open,
            "wait_s": _percentiles(self.wait_s),
            "wait_told_s": _percentiles(self.announced_wait_s),
            "turned_away": self.turned_away,
            "in_at_first_return": self.first_return,
            "in_at_last": self.got_in,
            "promise_error_s": mean_error,
        }


def _percentiles(values: Sequence[float], factor: float = 1) -> dict[str, float | None]:
    """Median and 99th percentile of `values`, each times `factor`."""
    found = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99)}
    return {name: None if value is None else round(value * factor, 3) for name, value in found.items()}
