"""The crowds that come: from twice to ten times what the workers can do, as a stream or all at once."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

PATIENT, IMPATIENT, LEAVER, TRICKLING = "patient", "impatient", "leaver", "trickling"
_CALM, _CALM_S = 0.5, 500.0
"""Traffic does not end with the peak: it falls to half of what the workers can do."""


@dataclass(eq=False, slots=True)
class Client:
    """One photo, whoever wants it taken, and what became of it; times in seconds."""

    key: str
    address: str
    kind: str
    came: float
    upload_s: float
    job_s: float
    delay_s: float
    """By how much it is later than it was told: its network, and its timer."""
    told: float | None = None
    """When it was first told to come back, if it was."""
    kept: bool | None = None
    """Whether it got in when it then came back; None if it did not, or was never refused."""
    admitted: float | None = None
    landed: float = 0.0
    started: float = 0.0
    done: float = 0.0


@dataclass(frozen=True)
class Crowd:
    """Who comes, when and how. `load` is steps of (times the capacity, seconds); shares are from 0 to 1."""

    name: str
    load: tuple[tuple[float, float], ...] = ()
    burst: int = 0
    """Clients that come within the first second of the peak."""
    impatient: float = 0.0
    leavers: float = 0.0
    album: int = 1
    """Photos of one address that come one after another."""
    trickling: float = 0.0
    """Uploads at the least rate that begin shortly before the peak, in sizes of the queue."""
    upload_s: float = 0.1
    job_s: float = 0.2
    calm_s: float = 60.0
    """When the peak begins; before it the service has half the work that it can do."""
    guess: float = 1.0
    """What the service takes a job's length for when it has measured none, in times of the true mean."""
    slow: tuple[float, float] = (0.0, 0.0)
    """From when to when, after the peak began, jobs take three times as long."""

    def slowness(self, now: float) -> float:
        """How many times longer than usual a job takes that begins now."""
        return 3.0 if self.slow[0] <= now - self.calm_s < self.slow[1] else 1.0

    def clients(self, chance: random.Random, per_s: float, places: int) -> list[Client]:
        """Everybody, in order of arrival; `per_s` jobs can be done, `places` is the queue."""
        times = sorted([*self._stream(chance, per_s), *self._burst(chance)])
        clients = [self._client(str(n), str(n // self.album), came, chance) for n, came in enumerate(times)]
        for n in range(round(self.trickling * places)):
            came = self.calm_s - 20 + chance.uniform(0, 10)
            upload_s = chance.uniform(30, 120)
            clients.append(Client(f"t{n}", f"t{n}", TRICKLING, came, upload_s, self.job_s, 0.1))
        return clients

    def _stream(self, chance: random.Random, per_s: float) -> Iterator[float]:
        now = end = 0.0
        for load, seconds in ((_CALM, self.calm_s), *self.load, (_CALM, _CALM_S)):
            now, end = end, end + seconds
            while (now := now + chance.expovariate(load * per_s)) < end:
                yield now

    def _burst(self, chance: random.Random) -> Iterator[float]:
        return (self.calm_s + chance.random() for _ in range(self.burst))

    def _client(self, key: str, address: str, came: float, chance: random.Random) -> Client:
        way = chance.random()
        kind = IMPATIENT if way < self.impatient else LEAVER if way > 1 - self.leavers else PATIENT
        sigma = 0.6  # jobs differ about as much as photos of cameras and of phones do
        return Client(
            key,
            address,
            kind,
            came,
            self.upload_s * chance.lognormvariate(-0.08, 0.4),
            self.job_s * chance.lognormvariate(-sigma * sigma / 2, sigma),
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
)
