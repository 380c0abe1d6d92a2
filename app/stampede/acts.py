"""The acts of a stampede: which clients come, how many, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from app.stampede import outcomes
from app.stampede.crowd import Crowd
from app.stampede.http_client import NoAnswer, ask
from app.stampede.ledger import Ledger
from app.stampede.server_stats import NoSpillway, ServerStats, fetch_stats
from app.stampede.target import Target

_OVERLOAD = 5
"""How many times more photos than the workers can process a crowd brings, unless a rate is given."""
_MIN_QUEUE_FILLINGS = 3
"""How many full queues a crowd brings at least: a fast server is to be seen refusing, too."""
_PATIENT_QUEUE_FILLINGS = 2
"""How many full queues the patient crowd brings beyond what is processed meanwhile. All of them get in, and
somebody watches until they have."""
_MAX_RATE = 300.0
_MAX_GROWTH = 8
"""How many times its rate a crowd grows to at most, as long as it has not found the queue full."""
_BULLY_OVERLOAD = 10
"""How many times more tokens than its bucket gains a bully wants."""
_MAX_SLOW_CLIENTS, _MAX_SLOW_PER_ADDRESS = 100, 4
_SLOW_EXTRA_S = 8.0
"""Seconds that a slow client goes on beyond the act: longer than the grace period of every upload."""
_FOLLOW_TIMEOUT_S = 300.0
"""Seconds after the last arrival in which every job should have ended."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """The load of the acts: `seconds` of arrivals, and uploads a second of a crowd.

    Without a `rate` it follows from what the server can do. Every client of a crowd also uploads its photo to
    the service `beside`, if there is one, to compare.
    """

    seconds: float
    rate: float | None = None
    beside: Target | None = None


@dataclass(slots=True)
class ActRun:
    """One run of an act: its parameters, and all figures that come of it.

    `sources` are the addresses of its clients, None for whichever the system chooses; `tokens_per_s` is
    the rate of one client's bucket.
    """

    act: "Act"
    target: Target
    pressure: Pressure
    sources: Sequence[str | None]
    tokens_per_s: float
    ledger: Ledger = field(default_factory=Ledger)
    server: ServerStats = field(default_factory=ServerStats)

    def crowd_rates(self) -> tuple[float, float]:
        """First and largest photos a second of a crowd: more than are processed, and more than may wait."""
        overload = max(_OVERLOAD * self.server.drain_per_s, self._filling_rate(_MIN_QUEUE_FILLINGS))
        return self._rates(overload)

    def patient_rates(self) -> tuple[float, float]:
        """First and largest photos a second of a crowd that all get in."""
        return self._rates(self._filling_rate(_PATIENT_QUEUE_FILLINGS))

    def _filling_rate(self, queues: float) -> float:
        """Photos a second that are processed, and this many full queues beside."""
        return self.server.drain_per_s + queues * self.server.capacity / self.pressure.seconds

    def _rates(self, rate: float) -> tuple[float, float]:
        """The rate of the pressure twice, if given; otherwise `rate` and what it may grow to.

        Both are at most twice what the clients' buckets allow.
        """
        max_rate = 2 * self.tokens_per_s * len(self.sources)
        if self.pressure.rate is not None:
            given = min(self.pressure.rate, max_rate)
            return given, given
        first = min(rate, _MAX_RATE, max_rate)
        return first, min(_MAX_GROWTH * first, max_rate)

    def outcome(self) -> str:
        """What happened, in one sentence."""
        return self.act.outcome(self.ledger, self.server)

    def to_plain(self) -> dict[str, Any]:
        """Everything that was counted, as plain data."""
        return {"ledger": self.ledger.to_plain(), "server": self.server.figures()}

    def add_plain(self, other: dict[str, Any]) -> None:
        """Add what another process counted in the same act at the same time."""
        self.ledger.add_plain(other["ledger"])
        self.server.add_figures(other["server"])

    def figures(self) -> dict[str, Any]:
        """The figures of the closing table, as plain data."""
        return {
            "act": self.act.name,
            "people": outcomes.in_people(self.ledger),
            **self.ledger.figures(),
            "server": self.server.figures(),
        }


Arrivals = Callable[[ActRun, Crowd], Awaitable[None]]
"""Lets the clients of an act come; returns when each of them has had its answers."""


@dataclass(frozen=True, slots=True)
class Act:
    """A demonstration of one kind of load.

    `name` selects it on the command line, `title` heads its column, `teaches` names it to people who learn by
    it, `says` introduces it in one sentence, and `outcome` tells in another what happened.
    """

    name: str
    title: str
    teaches: str
    says: str
    arrivals: Arrivals
    outcome: outcomes.Outcome = outcomes.counts
    many_addresses: bool = True


async def _bully(run: ActRun, crowd: Crowd) -> None:
    await crowd.arrive(crowd.hasty, _BULLY_OVERLOAD * run.tokens_per_s, run.pressure.seconds)


async def _crowd(run: ActRun, crowd: Crowd) -> None:
    await crowd.arrive_until_full(crowd.hasty, run.crowd_rates(), run.pressure.seconds)


async def _patient(run: ActRun, crowd: Crowd) -> None:
    await crowd.arrive_until_full(crowd.patient, run.patient_rates(), run.pressure.seconds)


async def _impatient(run: ActRun, crowd: Crowd) -> None:
    await crowd.arrive_until_full(crowd.impatient, run.patient_rates(), run.pressure.seconds)


async def _lenient(run: ActRun, crowd: Crowd) -> None:
    await crowd.arrive_until_full(crowd.lenient, run.crowd_rates(), run.pressure.seconds)


async def _slow(run: ActRun, crowd: Crowd) -> None:
    others_per_s = min(run.tokens_per_s, max(0.5, run.server.drain_per_s / 4))
    slow_clients = min(_MAX_SLOW_CLIENTS, _MAX_SLOW_PER_ADDRESS * len(run.sources))
    async with asyncio.TaskGroup() as both:
        slow = crowd.slow(run.pressure.seconds + _SLOW_EXTRA_S)
        both.create_task(crowd.arrive(slow, slow_clients, 1))
        # The others take the addresses from the other end, so that no address has clients of both kinds.
        others = crowd.with_sources(crowd.sources[::-1])
        both.create_task(others.arrive(others.hasty, others_per_s, run.pressure.seconds))


ACTS = (
    Act(
        "bully",
        "bully",
        "One asks too often",
        "One address asks ten times as often as its bucket lets in. A 429 names the time of its next token.",
        _bully,
        outcomes.of_bully,
        many_addresses=False,
    ),
    Act(
        "crowd",
        "crowd",
        "Too many at once",
        "Many addresses, each polite, together far more than the workers can do. "
        "Whoever finds the queue full is told 503 before the photo is read, so that memory stays flat.",
        _crowd,
        outcomes.of_crowd,
    ),
    Act(
        "patient",
        "patient",
        "Back when told",
        "The same crowd, but whoever is refused comes back exactly when Retry-After says.",
        _patient,
        outcomes.of_patient,
    ),
    Act(
        "impatient",
        "impatient",
        "Asking again at once",
        "The same crowd does not wait: whoever is refused asks every two seconds. "
        "Many times the requests come, and not one photo more is made.",
        _impatient,
        outcomes.of_impatient,
    ),
    Act(
        "lenient",
        "lenient",
        "A preview for now",
        "The same crowd says Prefer: handling=lenient, and takes a preview instead of an error "
        "when the queue is full.",
        _lenient,
        outcomes.of_lenient,
    ),
    Act(
        "slow",
        "slow",
        "Slow senders",
        "Clients that send one byte a second hold receiving slots until they are told 408. "
        "A few others upload beside them.",
        _slow,
        outcomes.of_slow,
    ),
)


async def fetch_tokens_per_s(target: Target) -> float:
    """Tokens a second of one client's bucket, by the policy in `/v1/quota`.

    Raises:
        NoAnswer: no server answers.
        NoSpillway: what answers is no Spillway.
    """
    quota = (await ask(target, "GET /v1/quota", timeout_s=10)).json()
    try:
        return float(quota["limit"]) / float(quota["window_s"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise NoSpillway(f"http://{target.authority} is no Spillway: it has no /v1/quota") from None


async def run_act(run: ActRun, photo: bytes) -> None:
    """Run an act until every job that was accepted has ended, for a bounded time.

    When cancelled it ends at once; the figures of `run` are right up to then.

    Raises:
        NoAnswer, NoSpillway: there was no Spillway when it began.
    """
    run.server.update(await fetch_stats(run.target))
    polling = asyncio.create_task(run.server.poll(run.target, run.sources[0]))
    try:
        async with (
            asyncio.timeout(run.pressure.seconds + _FOLLOW_TIMEOUT_S),
            asyncio.TaskGroup() as following,
        ):
            sources = run.sources if run.act.many_addresses else run.sources[:1]
            crowd = Crowd.of(run.target, photo, run.ledger, sources, following)
            crowd.beside = run.pressure.beside
            await run.act.arrivals(run, crowd)
    except TimeoutError:
        pass  # the table shows what has not ended
    finally:
        polling.cancel()
        with suppress(NoAnswer, NoSpillway):
            run.server.update(await fetch_stats(run.target))
