"""Which connections are closed when there are too many."""

import pytest

from app.server.connection_limit import BoundedGroup, busiest, make_room


class Member:
    """A connection of an address; it closes when it is asked to."""

    def __init__(self, peer: str, idle_until: float | None = None) -> None:
        self.peer = peer
        self.idle_until = idle_until
        self.closed = False

    def close_idle(self) -> None:
        """Close it."""
        self.closed = True
        self.idle_until = None


def test_who_has_most_is_first() -> None:
    """Of each address in the order given."""
    members = [Member(peer) for peer in "abbcb"]
    assert [each.peer for each in busiest(members, 4)] == ["b", "b", "b", "a"]
    assert busiest(members, 2) == [members[1], members[2]]


def test_a_group_is_bounded_at_the_cost_of_who_has_most() -> None:
    """Others stay, however many one address brings."""
    evicted: list[Member] = []

    def evict(member: Member) -> None:
        evicted.append(member)
        group.remove(member)

    group = BoundedGroup(32, evict)
    for number in range(10):
        group.add(Member(str(number)))
    for _ in range(100):
        group.add(Member("many"))
    assert {each.peer for each in evicted} == {"many"}
    assert 78 <= len(evicted) <= 80
    group.remove(Member("unknown"))


@pytest.mark.parametrize(
    ("idle", "closed"), [([5.0, 3.0, 4.0], [False, True, False]), ([None] * 3, [False] * 3)]
)
def test_the_longest_idle_makes_room(idle: list[float | None], closed: list[bool]) -> None:
    """If one is idle, and says whether."""
    members = [Member("a", until) for until in idle]
    assert make_room(members, 3) == any(closed)
    assert [each.closed for each in members] == closed
