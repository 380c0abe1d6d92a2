"""Services for the tests: each ends with the test, or the module, that asked for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.service import Service, serving

Start = Callable[..., Service]
_LONG = ("pages", "process", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that all who share the tests end at about the same time."""
    items.sort(key=lambda item: item.path.parent.name not in _LONG)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a service with the given settings, in one folder for all of the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **settings: stack.enter_context(serving(tmp_path, *arguments, **settings))
