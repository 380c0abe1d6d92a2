"""The crowds: from twice to ten times the load that the workers can do, as a stream or all at once."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_CALM_LOAD, _CALM_S = 0.5, 500.0
"""Traffic does not end with the peak: it falls to half of what the workers can do, for so many seconds."""
_JOB_SIGMA = 0.6
"""Spread of the durations of jobs (lognormal), about that between photos of cameras and of phones."""
_UPLOAD_SIGMA = 0.4
_GHOSTS_PER_NETWORK, _ADDRESSES_PER_NETWORK, _GHOSTS_S = 64, 8, 5.0
"""As many reservations as one network may have, from so many addresses of it, all within so many seconds."""


class Kind(StrEnum):
    """What a client does when it is refused."""

    PATIENT = "patient"
    """It comes back when it was told to."""
    IMPATIENT = "impatient"
    """It asks again every second."""
    LEAVER = "leaver"
    """It never comes back."""
    TRICKLING = "trickling"
    """As a patient one, but its upload takes half a minute or more."""
    GHOST = "ghost"
    """It sends the head of an upload and never anything more, whether it is admitted or refused."""


@dataclass(eq=False, slots=True)
class Client:
    """One photo with its sender, and what happened to it. Times and durations are in seconds."""

    key: str
    address: str
    net: str
    kind: Kind
    came: float
    upload_s: float
    job_s: float
    delay_s: float
    """How much later than told it comes back, because of its network and its timer."""
    told: float | None = None
    """When it was first told to come back; None if it was never refused."""
    first_return_admitted: bool | None = None
    """Whether it was admitted when it came back for the first time; None before that."""
    admitted: float | None = None
    enqueued: float = 0.0
    started: float = 0.0
    done: float = 0.0


@dataclass(frozen=True)
class Crowd:
    """Who comes, when and how.

    `load` lists the steps of the peak as (multiple of the capacity, seconds). Shares are from 0 to 1.
    """

    name: str
    load: tuple[tuple[float, float], ...] = ()
    burst: int = 0
    """Clients that come within the first second of the peak."""
    impatient: float = 0.0
    leavers: float = 0.0
    album: int = 1
    """Photos that come from one address, one after another."""
    trickling: float = 0.0
    """Very slow uploads that begin shortly before the peak, in multiples of the queue's capacity."""
    ghost_networks: int = 0
    """Networks from which ghosts come, 64 from each, in the second to sixth second of the peak."""
    upload_s: float = 0.1
    job_s: float = 0.2
    calm_s: float = 60.0
    """When the peak begins. Before it, the load is half of what the workers can do."""
    guess: float = 1.0
    """What the service assumes of a job's duration before it has measured one, in multiples of the mean."""
    slow: tuple[float, float] = (0.0, 0.0)
    """From when to when, in seconds after the peak began, jobs take three times as long."""

    def slowness(self, now: float) -> float:
        """How many times longer than usual a job takes that begins now."""
        return 3.0 if self.slow[0] <= now - self.calm_s < self.slow[1] else 1.0

    def clients(self, chance: random.Random, jobs_per_s: float, capacity: int) -> list[Client]:
        """All clients, in order of arrival, for workers that do `jobs_per_s` and a queue of `capacity`."""
        times = sorted([*self._stream(chance, jobs_per_s), *self._burst(chance)])
        clients = [self._client(str(n), str(n // self.album), came, chance) for n, came in enumerate(times)]
        for n in range(round(self.trickling * capacity)):
            came = self.calm_s - 20 + chance.uniform(0, 10)
            upload_s = chance.uniform(30, 120)
            key = f"t{n}"
            clients.append(Client(key, key, key, Kind.TRICKLING, came, upload_s, self.job_s, 0.1))
        return clients + list(self._ghosts(chance))

    def _stream(self, chance: random.Random, jobs_per_s: float) -> Iterator[float]:
        now = end = 0.0
        for load, seconds in ((_CALM_LOAD, self.calm_s), *self.load, (_CALM_LOAD, _CALM_S)):
            now, end = end, end + seconds
            while (now := now + chance.expovariate(load * jobs_per_s)) < end:
                yield now

    def _ghosts(self, chance: random.Random) -> Iterator[Client]:
        for net in range(self.ghost_networks):
            for n in range(_GHOSTS_PER_NETWORK):
                came = self.calm_s + 1 + chance.uniform(0, _GHOSTS_S)
                key, address = f"g{net}.{n}", f"g{net}.{n % _ADDRESSES_PER_NETWORK}"
                yield Client(key, address, f"g{net}", Kind.GHOST, came, self.upload_s, 0.0, 0.0)

    def _burst(self, chance: random.Random) -> Iterator[float]:
        return (self.calm_s + chance.random() for _ in range(self.burst))

    def _client(self, key: str, address: str, came: float, chance: random.Random) -> Client:
        draw = chance.random()
        kind = Kind.PATIENT
        if draw < self.impatient:
            kind = Kind.IMPATIENT
        elif draw > 1 - self.leavers:
            kind = Kind.LEAVER
        # A lognormal distribution has the mean 1 when its mu is -sigma**2 / 2.
        return Client(
            key,
            address,
            address,
            kind,
            came,
            self.upload_s * chance.lognormvariate(-0.08, _UPLOAD_SIGMA),
            self.job_s * chance.lognormvariate(-_JOB_SIGMA * _JOB_SIGMA / 2, _JOB_SIGMA),
            chance.uniform(0.005, 0.15),
        )


CROWDS = (
    Crowd("2 x", ((2, 60),)),
    Crowd("5 x", ((5, 40),)),
    Crowd("10 x", ((10, 30),)),
    Crowd("500 at once", burst=500),
    Crowd("2000 at once", burst=2000),
    Crowd("500 at once, cold", burst=500, calm_s=0),
    Crowd("500 at once, cold, guess x .5", burst=500, calm_s=0, guess=0.5),
    Crowd("500 at once, cold, guess x 2", burst=500, calm_s=0, guess=2),
    Crowd("steps 1, 5, .5, 3", ((1, 20), (5, 20), (0.5, 20), (3, 20))),
    Crowd("5 x, 20 % impatient", ((5, 40),), impatient=0.2),
    Crowd("2 x, 50 % impatient", ((2, 60),), impatient=0.5),
    Crowd("5 x, 30 % leave", ((5, 40),), leavers=0.3),
    Crowd("10 x, 60 % leave", ((10, 30),), leavers=0.6),
    Crowd("3 x, albums of ten", ((3, 40),), album=10),
    Crowd("3 x, uploads of 3 s", ((3, 40),), upload_s=3.0),
    Crowd("5 x, jobs slow down for 30 s", ((5, 40),), slow=(20, 50)),
    Crowd("2 x, uploads trickle", ((2, 60),), trickling=1.5),
    Crowd("2 x, ghosts", ((2, 240),), burst=200, ghost_networks=60),
    Crowd("2 x, ghosts, half impatient", ((2, 240),), burst=200, impatient=0.5, ghost_networks=60),
    Crowd("ghosts, calm, half impatient", burst=200, impatient=0.5, ghost_networks=60),
)
