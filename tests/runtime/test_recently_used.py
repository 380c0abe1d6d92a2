"""The bounded table: what is forgotten, and what is not."""

from app.runtime.recently_used import RecentlyUsed


def test_what_was_not_used_for_longest_is_forgotten() -> None:
    """Reading and writing are use; asking whether a name is known is none."""
    table: RecentlyUsed[int] = RecentlyUsed(3)
    for number, name in enumerate("abc"):
        table.put(name, number)
    assert table.get("a") == 0
    table.put("b", 10)
    assert "c" in table
    table.put("d", 3)
    assert "c" not in table
    assert [table.get(name) for name in "abcd"] == [0, 10, None, 3]
    assert len(table) == 3


def test_values_are_forgotten_when_told() -> None:
    """One of them, or all; a name that is not known is no error."""
    table: RecentlyUsed[str] = RecentlyUsed()
    table.put("a", "first")
    table.put("b", "second")
    assert (table.pop("a"), table.pop("a")) == ("first", None)
    table.clear()
    assert "b" not in table
