"""The ranking: how many keys stand before one, found in few comparisons."""

from bisect import insort
from functools import total_ordering

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backpressure.ranking import Ranking
from tests.examples import examples


@examples
@given(
    st.lists(st.tuples(st.sampled_from(["add", "add", "pop", "remove"]), st.integers(0, 10**6)), max_size=60)
)
def test_a_rank_is_how_many_stand_before(steps: list[tuple[str, int]]) -> None:
    """Whatever was added and removed, at the beginning or elsewhere."""
    ranking: Ranking[int] = Ranking()
    keys: list[int] = []
    for step, number in steps:
        if step == "add" and number not in keys:
            ranking.add(number)
            insort(keys, number)
        elif step == "pop" and keys:
            assert ranking.pop_first() == keys.pop(0)
        elif step == "remove" and keys:
            ranking.remove(keys.pop(number % len(keys)))
        assert len(ranking) == len(keys)
        assert [ranking.rank(key) for key in keys] == list(range(len(keys)))


def test_what_is_not_there_has_no_rank() -> None:
    """It may have been there, and may be the last."""
    ranking: Ranking[int] = Ranking()
    for key in range(3):
        ranking.add(key)
    ranking.pop_first()
    for gone in (0, 7):
        with pytest.raises(ValueError, match="not in the ranking"):
            ranking.rank(gone)
        with pytest.raises(ValueError, match="not in the ranking"):
            ranking.remove(gone)
    ranking.remove(1)
    ranking.remove(2)
    with pytest.raises(IndexError):
        ranking.pop_first()


@total_ordering
class _Counted:
    """A key that counts comparisons."""

    comparisons = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Counted) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)

    def __lt__(self, other: "_Counted") -> bool:
        _Counted.comparisons += 1
        return self.number < other.number


def test_a_rank_costs_few_comparisons() -> None:
    """Of ten thousand keys fourteen, which is the logarithm."""
    ranking: Ranking[_Counted] = Ranking()
    keys = [_Counted(number) for number in range(10_000)]
    for key in keys:
        ranking.add(key)
    _Counted.comparisons = 0
    assert ranking.rank(keys[1234]) == 1234
    assert _Counted.comparisons <= 14
