"""Work that is done in slices, so that other work of the event loop comes in between."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Slices(Generic[T]):
    """Handles what is added, first in first out, a bounded part of it in each iteration of the event loop."""

    def __init__(self, handle: Callable[[T], Any], at_once: int, max_s: float = math.inf) -> None:
        """`handle` is called for `at_once` of them in one iteration, and for none after `max_s` seconds."""
        self._handle = handle
        self._at_once = at_once
        self._max_s = max_s
        self._waiting: OrderedDict[T, None] = OrderedDict()
        self._is_scheduled = False

    def add(self, item: T) -> None:
        """Have an item handled when it is its turn; once, however often it is added before."""
        self._waiting[item] = None
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._handle_some)

    def _handle_some(self) -> None:
        self._is_scheduled = False
        end = time.perf_counter() + self._max_s
        for _ in range(self._at_once):
            if not self._waiting or time.perf_counter() > end:
                break
            item, _ = self._waiting.popitem(last=False)
            self._handle(item)
        if self._waiting:
            self._schedule()
