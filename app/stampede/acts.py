"""The acts of a stampede: who comes, how, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from app.stampede.crowd import Crowd
from app.stampede.http_client import Unseen, ask
from app.stampede.ledger import Ledger
from app.stampede.server_stats import NoSpillway, Watch, stats
from app.stampede.target import Target

_OVERLOAD = 5
"""How many times what the workers can do a crowd brings, unless told."""
_FILLINGS = 3
"""How many full queues it brings at least, or a slow server would not be seen to refuse."""
_FILLINGS_PATIENT = 2
"""How many the patient bring beside what is done meanwhile: all of them get in, and whoever watches waits."""
_MOST_RATE = 300.0
_BULLYING = 10
"""How many times its tokens a bully wants."""
_SLOW, _SLOW_EACH = 100, 4
"""Slow clients, and how many of them at most come from one address."""
_SLOW_S = 8.0
"""How much longer than the others a slow client tries: past the grace that any upload has."""
_FOLLOW_S = 300.0
"""Seconds after the last arrival in which every job should have ended."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """How hard the acts press; `rate` is uploads a second of a crowd, None: by what the server can do."""

    seconds: float
    rate: float | None = None


@dataclass(slots=True)
class Stage:
    """One act being played, and all that is learnt of it."""

    act: "Act"
    target: Target
    pressure: Pressure
    sources: Sequence[str | None]
    tokens_per_s: float
    ledger: Ledger = field(default_factory=Ledger)
    watch: Watch = field(default_factory=Watch)

    def crowd_rate(self) -> float:
        """Photos a second of a crowd: far more than are done, and far more than may wait."""
        return self._rate(max(_OVERLOAD * self.watch.drain_per_s, self._filling(_FILLINGS)))

    def patient_rate(self) -> float:
        """Photos a second of a crowd that all get in."""
        return self._rate(self._filling(_FILLINGS_PATIENT))

    def _filling(self, times: float) -> float:
        return self.watch.drain_per_s + times * self.watch.capacity / self.pressure.seconds

    def _rate(self, wanted: float) -> float:
        """What is wanted, or what was told; with few addresses at most twice what their buckets let in."""
        most = 2 * self.tokens_per_s * len(self.sources)
        return min(self.pressure.rate or min(wanted, _MOST_RATE), most)

    def figures(self) -> dict[str, Any]:
        """What the closing table shows, as plain data."""
        return {
            "act": self.act.name,
            **self.ledger.figures(),
            "server": self.watch.figures(),
        }


Play = Callable[[Stage, Crowd], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Act:
    """A `name` to ask for it by, the `title` of its column, one sentence that introduces it, its players."""

    name: str
    title: str
    says: str
    play: Play
    many: bool = True
    """Whether its clients have many addresses."""


async def _bully(stage: Stage, crowd: Crowd) -> None:
    await crowd.arrive(crowd.hasty, _BULLYING * stage.tokens_per_s, stage.pressure.seconds)


async def _crowd(stage: Stage, crowd: Crowd) -> None:
    await crowd.arrive(crowd.hasty, stage.crowd_rate(), stage.pressure.seconds)


async def _patient(stage: Stage, crowd: Crowd) -> None:
    await crowd.arrive(crowd.patient, stage.patient_rate(), stage.pressure.seconds)


async def _lenient(stage: Stage, crowd: Crowd) -> None:
    await crowd.arrive(crowd.lenient, stage.crowd_rate(), stage.pressure.seconds)


async def _slow(stage: Stage, crowd: Crowd) -> None:
    others = min(stage.tokens_per_s, max(0.5, stage.watch.drain_per_s / 4))
    slow = min(_SLOW, _SLOW_EACH * len(stage.sources))
    async with asyncio.TaskGroup() as both:
        drip = crowd.dripping(stage.pressure.seconds + _SLOW_S)
        both.create_task(crowd.arrive(drip, slow, 1))
        # The others come from the far end of the addresses, so that nobody is both.
        beside = crowd.at(crowd.sources[::-1])
        both.create_task(beside.arrive(beside.hasty, others, stage.pressure.seconds))


ACTS = (
    Act(
        "bully",
        "bully",
        "One address asks ten times as often as its bucket lets in: it is told 429, "
        "and when its next token comes.",
        _bully,
        many=False,
    ),
    Act(
        "crowd",
        "crowd",
        "Many addresses, each polite, together far more than the workers can do: the queue fills, "
        "the rest are told 503 at once, memory stays flat.",
        _crowd,
    ),
    Act(
        "patient",
        "patient",
        "The same crowd, but whoever is refused comes back exactly when Retry-After says: all get in.",
        _patient,
    ),
    Act(
        "lenient",
        "lenient",
        "The same crowd says Prefer: handling=lenient: whoever finds the queue full gets a preview "
        "instead of an error.",
        _lenient,
    ),
    Act(
        "slow",
        "slow ones",
        "Clients that send one byte a second hold places in the dock until they are told 408, "
        "and the few who upload beside them notice nothing.",
        _slow,
    ),
)


async def tokens_per_s(target: Target) -> float:
    """Tokens a second of one client's bucket, as /v1/quota tells its policy. Raises Unseen, NoSpillway."""
    quota = (await ask(target, "GET /v1/quota", patience=10)).json()
    try:
        return float(quota["limit"]) / float(quota["window_s"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise NoSpillway(f"http://{target.authority} is no Spillway: it has no /v1/quota") from None


async def perform(stage: Stage, photo: bytes) -> None:
    """Play an act until every job that was accepted has ended, for a bounded time.

    When cancelled it ends at once; the stage's figures are right up to then.

    Raises:
        Unseen, NoSpillway: there was no Spillway when it began.
    """
    stage.watch.enter(await stats(stage.target))
    looking = asyncio.create_task(stage.watch.follow(stage.target, stage.sources[0]))
    try:
        async with asyncio.timeout(stage.pressure.seconds + _FOLLOW_S), asyncio.TaskGroup() as following:
            sources = stage.sources if stage.act.many else stage.sources[:1]
            await stage.act.play(stage, Crowd.of(stage.target, photo, stage.ledger, sources, following))
    except TimeoutError:
        pass  # the table tells what has not ended
    finally:
        looking.cancel()
        with suppress(Unseen, NoSpillway):
            stage.watch.enter(await stats(stage.target))
