"""What the tests of turns share: a hall in which time, the queue and the drain rate are set by hand."""

from collections.abc import Iterable
from typing import Any

from app.backpressure.reservations import Admit, Refuse, Reservations, Wait
from tests.clocks import HandClock

WORKERS, RATE, PLACES = 2, 10.0, 20
START = 1000.0


class Hall:
    """Turns, a clock set by hand and a queue of jobs that are only counted."""

    def __init__(self, capacity: int = 100_000, used: int = PLACES) -> None:
        self.clock = HandClock(START)
        self.rate = RATE
        self.reservations = Reservations(WORKERS, PLACES, lambda: self.rate, capacity, clock=self.clock)
        self.used = used

    def ask(self, key: str, client: str | None = None, net: str = "", **more: float) -> Admit | Wait | Refuse:
        """Ask for one upload, of a client of its own unless told which; an admitted one takes a place."""
        client = client or key
        free = PLACES - self.used
        shut = self.reservations.would_refuse(key, client, used=self.used, free=free, room=free)
        answer = self.reservations.request(
            key, client, net or client, used=self.used, free=free, room=free, **more
        )
        assert not shut or isinstance(answer, Refuse), "what is foretold is what comes"
        self.used += isinstance(answer, Admit)
        return answer

    def refuse(self, key: str, client: str | None = None, net: str = "", **more: float) -> int:
        """Ask for one upload that is refused; the seconds it is told."""
        answer = self.ask(key, client, net, **more)
        assert isinstance(answer, Refuse)
        return answer.retry_after

    def crowd(self, count: int, prefix: str = "c") -> dict[str, int]:
        """Have so many clients refused; what each is told."""
        return {f"{prefix}{n}": self.refuse(f"{prefix}{n}") for n in range(count)}

    def drain(self, jobs: int) -> None:
        """Let so many jobs leave the queue."""
        self.used = max(0, self.used - jobs)

    @property
    def outstanding(self) -> int:
        """How many turns are out and not missed."""
        snapshot = self.reservations.snapshot()
        return snapshot.outstanding - snapshot.missed


def is_empty(reservations: Reservations) -> bool:
    """Whether no trace of any client is left."""
    table = reservations._table
    tables: Iterable[Any] = (
        table._reservations,
        table._by_client,
        table._by_net,
        table._expiry,
        reservations._waiting,
    )
    return table.missed == 0 and not any(tables)


def knock(hall: Hall, *keys: str) -> list[Wait]:
    """Have clients refused, then come back at their turn while the queue is full."""
    for key in keys:
        hall.refuse(key)
    hall.clock.advance(2)
    answers = [hall.ask(key) for key in keys]
    parks = [answer for answer in answers if isinstance(answer, Wait)]
    assert len(parks) == len(answers)
    return parks
