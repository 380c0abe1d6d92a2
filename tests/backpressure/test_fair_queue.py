"""The fair queue: round robin over clients, and what position that gives an entry."""

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
    """Whatever was added, taken and removed, entries leave in the order of their indices."""
    queue: FairQueue[Entry] = FairQueue()
    entries: list[Entry] = []
    for step, choice in steps:
        if step == "append":
            entries.append(Entry("abcde"[choice]))
            queue.append(entries[-1])
        elif step == "popleft" and entries:
            entries.remove(queue.popleft())
        elif step == "remove" and entries:
            queue.remove(entries.pop(choice % len(entries)))
        assert len(queue) == len(entries)
    in_order = sorted(entries, key=queue.index)
    firsts = {client: queue.first_of(client) for client in "abcde"}
    for client, first in firsts.items():
        assert first == next((at for at, entry in enumerate(in_order) if entry.client == client), None)
    assert [queue.popleft() for _ in entries] == in_order
    assert len(queue) == 0


@examples
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_nobody_gets_a_second_before_all_others_had_one(clients: list[str]) -> None:
    """Between two entries of one client, one of each other waiting client leaves; each keeps its order."""
    queue: FairQueue[Entry] = FairQueue()
    entries = [Entry(client) for client in clients]
    for entry in entries:
        queue.append(entry)
    taken = [queue.popleft() for _ in entries]
    for client in set(clients):
        own = [at for at, entry in enumerate(taken) if entry.client == client]
        assert [taken[at] for at in own] == [entry for entry in entries if entry.client == client]
        for earlier, later in pairwise(own):
            waiting = {entry.client for entry in taken[later:]} - {client}
            assert waiting <= {entry.client for entry in taken[earlier + 1 : later]}


class _Compared(Entry):
    """An entry that counts how often it is compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        _Compared.comparisons += 1
        return self is other

    __hash__ = Entry.__hash__


def test_a_client_with_very_many_entries_is_not_searched() -> None:
    """Such as a proxy for all others."""
    queue: FairQueue[_Compared] = FairQueue()
    entries = [_Compared("proxy") for _ in range(10_000)]
    for entry in entries:
        queue.append(entry)
    _Compared.comparisons = 0
    assert [queue.index(entries[at]) for at in (0, 5000, 9999)] == [0, 5000, 9999]
    queue.remove(entries[5000])
    assert queue.index(entries[9999]) == 9998
    assert _Compared.comparisons == 0


def test_an_entry_that_is_not_there_is_neither_found_nor_removed() -> None:
    """Neither of an unknown client nor of one with other entries."""
    queue: FairQueue[Entry] = FairQueue()
    for entry in (Entry("a"), Entry("b")):
        with pytest.raises(ValueError, match="not in"):
            queue.index(entry)
        with pytest.raises(ValueError, match="not in"):
            queue.remove(entry)
        queue.append(Entry("a"))
    assert len(queue) == 2
