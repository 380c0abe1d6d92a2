"""A bounded table."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class RecentlyUsed(Generic[T]):
    """Values by name, of which those that were neither read nor written for longest are forgotten."""

    def __init__(self, capacity: int = 1024) -> None:
        self._values: OrderedDict[str, T] = OrderedDict()
        self._capacity = capacity

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: str) -> T | None:
        """The value of this name, if it is known."""
        if name not in self._values:
            return None
        self._values.move_to_end(name)
        return self._values[name]

    def put(self, name: str, value: T) -> None:
        """Remember a value."""
        self._values[name] = value
        self._values.move_to_end(name)
        if len(self._values) > self._capacity:
            self._values.popitem(last=False)

    def pop(self, name: str) -> T | None:
        """Forget the value of this name; what it was."""
        return self._values.pop(name, None)

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
