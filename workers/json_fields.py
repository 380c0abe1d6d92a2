"""The fields of an untrusted JSON object, each read by the one type and range that it may have."""

import math
import re
from typing import NoReturn, TypeVar

from workers.frames import ProtocolError

_LONGEST_PATH = 4096
_T = TypeVar("_T")


class Fields:
    """The fields of one untrusted JSON object, each taken once; each method raises ProtocolError."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise ProtocolError(f"a {what} is not an object")
        self._value: dict[str, object] = dict(value)
        self._what = what

    def fail(self, key: str) -> NoReturn:
        raise ProtocolError(f"the field {key} of a {self._what} is not acceptable")

    def take(self, key: str, kind: type[_T]) -> _T:
        value = self._value.pop(key, None)
        # Not isinstance: True is an int to Python, and must not be one here.
        if type(value) is not kind:
            self.fail(key)
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        value = self.take(key, int)
        return value if least <= value <= most else self.fail(key)

    def seconds(self, key: str, most: float) -> float:
        value = self._value.pop(key, None)
        if type(value) not in (int, float) or not isinstance(value, int | float):
            self.fail(key)
        return float(value) if 0 <= value <= most and math.isfinite(value) else self.fail(key)

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.take(key, str)
        return value if pattern.fullmatch(value) else self.fail(key)

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self.take(key, str)
        return value if value in known else self.fail(key)

    def line(self, key: str, most: int) -> str:
        value = self.take(key, str)
        return value if 0 < len(value) <= most and value.isprintable() else self.fail(key)

    def path(self, key: str) -> str:
        value = self.take(key, str)
        if not value.startswith("/") or len(value) > _LONGEST_PATH or "\0" in value or not _encodable(value):
            self.fail(key)
        return value

    def items(self, key: str, least: int, most: int) -> list[object]:
        value: list[object] = self.take(key, list)
        return value if least <= len(value) <= most else self.fail(key)

    def finish(self) -> None:
        if self._value:
            raise ProtocolError(f"a {self._what} has an unknown field")


def _encodable(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
