"""Round robin over clients, looked at as a line."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.fair_queue import FairQueue
from tests.examples import examples


@dataclass(eq=False)
class Entry:
    """A job of a client."""

    client: str


steps = st.lists(st.tuples(st.sampled_from(["append", "append", "popleft", "remove"]), st.integers(0, 4)))


@examples
@given(steps)
def test_an_index_is_how_many_leave_before(steps: list[tuple[str, int]]) -> None:
    """Whatever came, went and was removed, the entries leave in the order of their indices."""
    rota: FairQueue[Entry] = FairQueue()
    entries: list[Entry] = []
    for step, choice in steps:
        if step == "append":
            entries.append(Entry("abcde"[choice]))
            rota.append(entries[-1])
        elif step == "popleft" and entries:
            entries.remove(rota.popleft())
        elif step == "remove" and entries:
            rota.remove(entries.pop(choice % len(entries)))
        assert len(rota) == len(entries)
    line = sorted(entries, key=rota.index)
    firsts = {client: rota.first_of(client) for client in "abcde"}
    for client, first in firsts.items():
        assert first == next((at for at, entry in enumerate(line) if entry.client == client), None)
    assert [rota.popleft() for _ in entries] == line
    assert len(rota) == 0


@examples
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_nobody_gets_a_second_before_all_others_had_one(clients: list[str]) -> None:
    """Between two jobs of one client every other that waits has one taken; its own keep their order."""
    rota: FairQueue[Entry] = FairQueue()
    entries = [Entry(client) for client in clients]
    for entry in entries:
        rota.append(entry)
    taken = [rota.popleft() for _ in entries]
    for client in set(clients):
        own = [at for at, entry in enumerate(taken) if entry.client == client]
        assert [taken[at] for at in own] == [entry for entry in entries if entry.client == client]
        for earlier, later in pairwise(own):
            waiting = {entry.client for entry in taken[later:]} - {client}
            assert waiting <= {entry.client for entry in taken[earlier + 1 : later]}


def test_what_is_not_there_is_neither_found_nor_removed() -> None:
    """Not of an unknown client, nor of one with others."""
    rota: FairQueue[Entry] = FairQueue()
    for entry in (Entry("a"), Entry("b")):
        with pytest.raises(ValueError, match="not in"):
            rota.index(entry)
        with pytest.raises(ValueError, match="not in"):
            rota.remove(entry)
        rota.append(Entry("a"))
    assert len(rota) == 2
