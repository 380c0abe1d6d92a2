"""Turns: a Retry-After that keeps its word.

A refused upload gets a *turn*: the next moment at which, at the measured drain rate, a place comes free that
nobody else was promised. It is remembered under a key of that upload. Whoever comes back at its turn goes
before every newcomer; if no place is free that second, it waits at the *door*, its body unread, and gets the
next one. Newcomers come in only where there is room for them beside all who hold a turn, or where the workers
would run dry. Whoever comes early is told the same moment again, so that impatience gains nothing.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from app.backpressure.reservation_table import Reservation, ReservationTable

_FURTHEST = 3600.0
"""Seconds ahead that a turn may lie."""
_PATIENCE = 8.0
"""Seconds at the door."""
_DOOR = 512
"""Requests at the door at once."""
_ENOUGH_S = 0.6
"""Seconds of work in sight, beside a job for each worker, below which newcomers pass those who hold turns."""

_SLACK = 1.0
"""Seconds by which a place is kept free sooner than it must be."""
_MARGIN = 1.02
"""By how much turns lie further apart than places come free: the error of a measured rate is about that."""


@dataclass(frozen=True, slots=True)
class Requester:
    """Who wants to bring which upload: `key` is that upload's, `net` the wider network of its `client`."""

    key: str
    client: str
    net: str


@dataclass(frozen=True, slots=True)
class Admit:
    """The upload may take a place now."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The upload is to come back in `retry_after` whole seconds; `kept`: with a place kept for it."""

    retry_after: int
    kept: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Wait:
    """The upload waits at the door, at most until `until`. Also the ticket by which it is called."""

    key: str
    client: str
    net: str
    until: float


@dataclass(frozen=True, slots=True)
class ReservationsSnapshot:
    """Turns that are out, of `capacity`; those of them that a place is kept free for, and those missed;
    requests at the door; the share that returns."""

    outstanding: int
    awaited: int
    missed: int
    capacity: int
    parked: int
    returning: float


class Reservations:
    """Lets uploads in or tells them when, with at most `max_clients` turns out at once.

    Invariant: of those who return, no more are due by any time than the places free now and those that drain
    until then, but for rounding up to whole seconds. Where no turn can be kept (the table is full, or one
    client or net has many), refusals still follow one another at the drain rate.

    Callers say how many places an upload could take now (`free`), how many jobs wait or soon will (`used`),
    and how many places there are while nobody is promised any (`room`). They ask `excuse()` before they
    charge a token, then `ask()`; a freed place goes to `call()`.
    """

    def __init__(
        self,
        workers: int,
        places: int,
        rate: Callable[[], float],
        max_clients: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rate()` is how many jobs leave the queue of `places` per second while all workers are busy."""
        self._workers = workers
        self._places = places
        self._rate = rate
        self._clock = clock
        self._table = ReservationTable(max_clients)
        self._waiting: dict[Wait, None] = {}
        self._tail = self._far = -math.inf

    def resize(self, workers: int, places: int) -> None:
        """Reckon with so many workers and places; turns that are out stay as they were told."""
        self._workers, self._places = workers, places

    def _now(self) -> float:
        now = self._clock()
        self._table.sweep(now)
        return now

    def is_due(self, key: str) -> bool:
        """Whether this upload returns as it was told, so that it owes no second token."""
        now = self._now()
        reservation = self._table.get(key)
        return reservation is not None and reservation.due <= now and not reservation.token_waived

    def waive_token(self, key: str) -> bool:
        """Whether this upload is due, once for each turn: whoever asks again pays as others do."""
        due = self.is_due(key)
        if due:
            self._table.waive_token(key)
        return due

    def request(
        self,
        key: str,
        client: str,
        net: str,
        *,
        used: int,
        free: int,
        room: int,
        reopen: float = 0,
        not_before: float = 0,
    ) -> Admit | Wait | Refuse:
        """May this upload come in?

        Nobody may for `reopen` seconds; this one is not to come for `not_before` seconds.
        """
        now = self._now()
        reservation = self._table.get(key)
        if reservation is not None and now < reservation.due:
            return self._repeat(reservation, now, not_before)
        open_ = reopen <= 0
        if reservation is not None:
            self._table.redeem(reservation)
            if open_ and free > len(self._waiting):
                return Admit()
            if open_ and len(self._waiting) < _DOOR:
                wait = Wait(key, client, net, now + _PATIENCE)
                self._waiting[wait] = None
                return wait
        elif open_ and self._admits_newcomer(client, used, free, room):
            return Admit()
        free -= len(self._waiting)
        return self._refuse(now, key, client, net, free, reopen, not_before)

    def would_refuse(self, key: str, client: str, *, used: int, free: int, room: int) -> bool:
        """Whether `ask()` would refuse this upload, were it to ask now; for one that is due, False."""
        now = self._now()
        reservation = self._table.get(key)
        if reservation is not None:
            return now < reservation.due
        return not self._admits_newcomer(client, used, free, room)

    def _admits_newcomer(self, client: str, used: int, free: int, room: int) -> bool:
        parked, table = len(self._waiting), self._table
        if not parked and not table.awaited and room > 0:
            return True
        if free - parked > max(0, table.expected_due):
            return True
        enough = self._workers + _ENOUGH_S * self._rate()
        return free > parked and used + parked < enough and not table.has_client(client)

    def next_waiter(self, free: int) -> Wait | None:
        """Whoever has waited longest at the door, if a place is free: that place is theirs."""
        if free <= 0 or not self._waiting:
            return None
        oldest = next(iter(self._waiting))
        del self._waiting[oldest]
        return oldest

    def cancel_wait(self, wait: Wait) -> None:
        """The client at the door has gone. Harmless when it was called before."""
        self._waiting.pop(wait, None)

    def expire_wait(self, wait: Wait, *, free: int, reopen: float = 0) -> Refuse:
        """End a wait at the door that was in vain, or that a closing ends: there is a new turn for it."""
        self.cancel_wait(wait)
        now = self._now()
        return self._refuse(now, wait.key, wait.client, wait.net, free - len(self._waiting), reopen, 0)

    def _repeat(self, reservation: Reservation, now: float, not_before: float) -> Refuse:
        """Who comes early is told the same moment, or a later one if that visit took its last token."""
        seconds = _whole_seconds(max(reservation.due - now, not_before))
        if not_before > reservation.due - now:
            self._table.cancel(reservation)
            self._reserve(
                Reservation(reservation.key, reservation.client, reservation.net, now + seconds), now
            )
        return Refuse(seconds)

    def _reserve(self, reservation: Reservation, now: float) -> None:
        """Remember a turn; no place need be free for it until what may wait by then has to leave first."""
        self._table.add(reservation, reservation.due - now - self._places / self._rate() - _SLACK, now)

    def _refuse(
        self, now: float, key: str, client: str, net: str, free: int, reopen: float, not_before: float
    ) -> Refuse:
        rate, table = self._rate(), self._table
        step = _MARGIN * table.returning / rate
        ahead = (table.expected - free) / rate - 1  # a second less, for turns are rounded up to whole ones
        moment = max(now + max(0.0, reopen) + max(0.0, ahead), self._tail + step)
        kept = table.has_room(client, net) and moment <= now + _FURTHEST
        if kept:
            self._tail = moment
        else:
            self._far = moment = min(max(moment, self._far + step), now + _FURTHEST)
        seconds = max(1, _whole_seconds(moment - now), _whole_seconds(not_before))
        if kept:
            self._reserve(Reservation(key, client, net, now + seconds), now)
        return Refuse(seconds, kept)

    def export(self, wall: float) -> dict[str, Any]:
        """What is promised, as data for JSON, for the next process; `wall` is the time of day."""
        now = self._now()
        return {
            "at": wall,
            "tail_s": max(0.0, self._tail - now),
            "returning": self._table.returning,
            "turns": [
                [reservation.key, reservation.client, reservation.net, reservation.due - now]
                for reservation in self._table
            ],
        }

    def restore(self, state: dict[str, Any], wall: float) -> None:
        """Keep what an earlier process promised; turns that came up meanwhile are due now.

        Raises:
            KeyError, TypeError, ValueError: this is not what `export()` gave.
        """
        now = self._now()
        table = self._table
        past = max(0.0, wall - state["at"])
        reservations = [
            Reservation(str(key), str(client), str(net), now + min(_FURTHEST, max(0.0, due_s - past)))
            for key, client, net, due_s in islice(state["turns"], table.capacity - len(table))
        ]
        tail = now + min(_FURTHEST, state["tail_s"] - past)
        table.seed(state["returning"])
        self._tail = max(self._tail, tail)
        for reservation in reservations:
            if table.get(reservation.key) is None:
                self._reserve(reservation, now)

    def snapshot(self) -> ReservationsSnapshot:
        """What is promised now."""
        self._now()
        table = self._table
        return ReservationsSnapshot(
            len(table),
            table.awaited,
            table.missed,
            table.capacity,
            len(self._waiting),
            round(table.returning, 3),
        )


def _whole_seconds(seconds: float) -> int:
    """Rounded up, but not for the dust that sums of floats leave."""
    return math.ceil(round(seconds, 6))
