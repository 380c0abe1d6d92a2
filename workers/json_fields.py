"""Reads the fields of an untrusted JSON object, each by its one type and range."""

import math
import re
from typing import NoReturn, TypeVar

from workers.frames import ProtocolError

_MAX_PATH_LENGTH = 4096
_T = TypeVar("_T")


class Fields:
    """The fields of one untrusted JSON object; `what` names it in errors.

    Each method reads one field, which can be read once, and raises ProtocolError if it is missing or wrong.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise ProtocolError(f"a {what} is not an object")
        self._value: dict[str, object] = dict(value)
        self._what = what

    def fail(self, key: str) -> NoReturn:
        """Raise ProtocolError for the field `key`."""
        raise ProtocolError(f"the field {key} of a {self._what} is not acceptable")

    def take(self, key: str, kind: type[_T]) -> _T:
        """A value of exactly this type."""
        value = self._value.pop(key, None)
        # Not isinstance: in Python True is an int.
        if type(value) is not kind:
            self.fail(key)
        return value

    def integer(self, key: str, minimum: int, maximum: int) -> int:
        """An integer from `minimum` to `maximum`."""
        value = self.take(key, int)
        return value if minimum <= value <= maximum else self.fail(key)

    def seconds(self, key: str, maximum: float) -> float:
        """A number from 0 to `maximum`."""
        value = self._value.pop(key, None)
        if type(value) not in (int, float) or not isinstance(value, int | float):
            self.fail(key)
        return float(value) if 0 <= value <= maximum and math.isfinite(value) else self.fail(key)

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        """A string that `pattern` matches as a whole."""
        value = self.take(key, str)
        return value if pattern.fullmatch(value) else self.fail(key)

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        """One of these strings."""
        value = self.take(key, str)
        return value if value in known else self.fail(key)

    def line(self, key: str, max_length: int) -> str:
        """A printable string of one line that is not empty."""
        value = self.take(key, str)
        return value if 0 < len(value) <= max_length and value.isprintable() else self.fail(key)

    def path(self, key: str) -> str:
        """An absolute path."""
        value = self.take(key, str)
        if (
            not value.startswith("/")
            or len(value) > _MAX_PATH_LENGTH
            or "\0" in value
            or not _is_encodable(value)
        ):
            self.fail(key)
        return value

    def items(self, key: str, min_count: int, max_count: int) -> list[object]:
        """A list of `min_count` to `max_count` items."""
        value: list[object] = self.take(key, list)
        return value if min_count <= len(value) <= max_count else self.fail(key)

    def finish(self) -> None:
        """Raise ProtocolError if a field has not been read."""
        if self._value:
            raise ProtocolError(f"a {self._what} has an unknown field")


def _is_encodable(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
