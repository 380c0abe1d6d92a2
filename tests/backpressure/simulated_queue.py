"""Reservations for a simulated queue, whose clock, load and drain rate the test sets by hand."""

from collections.abc import Iterable
from typing import Any

from app.backpressure.reservation_table import Requester
from app.backpressure.reservations import Admit, Decision, QueueLoad, Refuse, Reservations, Wait
from tests.clocks import HandClock

WORKERS, RATE, CAPACITY = 2, 10.0, 20
START = 1000.0


class SimulatedQueue:
    """A queue of `CAPACITY` jobs that are only counted, and the reservations for it."""

    def __init__(self, max_reservations: int = 100_000, load: int = CAPACITY) -> None:
        self.clock = HandClock(START)
        self.rate = RATE
        self.reservations = Reservations(
            WORKERS, CAPACITY, lambda: self.rate, max_reservations, clock=self.clock
        )
        self.load = load

    def ask(self, key: str, client: str = "", net: str = "", not_before: float = 0) -> Decision:
        """Ask for one upload, by default of a client of its own. An admitted one is added to the load."""
        requester = requester_of(key, client, net)
        free_slots = CAPACITY - self.load
        load = QueueLoad(self.load, free_slots, unreserved_slots=free_slots)
        foreseen = self.reservations.would_refuse(requester, load)
        decision = self.reservations.request(requester, load, not_before=not_before)
        assert foreseen == isinstance(decision, Refuse), "what `would_refuse` said is not what happened"
        if isinstance(decision, Admit):
            self.load += 1
        return decision

    def refused(self, key: str, client: str = "", net: str = "", not_before: float = 0) -> int:
        """Ask for one upload that is refused; the seconds after which it shall come back."""
        decision = self.ask(key, client, net, not_before)
        assert isinstance(decision, Refuse)
        return decision.retry_after

    def refused_crowd(self, count: int, prefix: str = "c") -> dict[str, int]:
        """Have so many uploads of different clients refused; the seconds each is told."""
        return {f"{prefix}{n}": self.refused(f"{prefix}{n}") for n in range(count)}

    def refuse_while_closed(self, key: str, reopens_in: float) -> int:
        """Refuse an upload because nobody is admitted now; the seconds it is told."""
        free_slots = CAPACITY - self.load
        return self.reservations.refuse(requester_of(key), free_slots, reopens_in=reopens_in).retry_after

    def have_waiting(self, *keys: str) -> list[Wait]:
        """Have uploads refused, then come back at their time while the queue is full."""
        for key in keys:
            self.refused(key)
        self.clock.advance(2)
        decisions = [self.ask(key) for key in keys]
        waits = [decision for decision in decisions if isinstance(decision, Wait)]
        assert len(waits) == len(decisions)
        return waits

    def drain(self, jobs: int) -> None:
        """Let so many jobs leave the queue."""
        self.load = max(0, self.load - jobs)

    @property
    def not_missed(self) -> int:
        """Reservations that are not missed yet."""
        snapshot = self.reservations.snapshot()
        return snapshot.outstanding - snapshot.missed


def requester_of(key: str, client: str = "", net: str = "") -> Requester:
    """The requester of one upload, by default of a client and a network of its own."""
    return Requester(key, client or key, net or client or key)


def is_empty(reservations: Reservations) -> bool:
    """Whether no trace of any client is left."""
    table = reservations._table
    containers: Iterable[Any] = (
        table._reservations,
        table._per_client,
        table._networks,
        table._changes,
        reservations._waiting,
    )
    counts = (*table._states.values(), *table._calendar._least)
    return not any(counts) and not any(containers)
