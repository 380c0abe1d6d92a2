"""Keeps many uploads of one client within the client's own token bucket."""

import re
import threading
import time
from collections.abc import Callable

import httpx

_POLICY = re.compile(r'"[^"]*";q=(\d+);w=(\d+)')
_STATE = re.compile(r'"[^"]*";r=(\d+);t=(\d+)')


class Pacer:
    """Spaces the uploads of one client, by the `RateLimit` fields of the answers to earlier ones.

    While the bucket has tokens nothing waits. Once it is empty, each upload waits for a moment of its own:
    the next token, then one more interval for every upload after it. So ten uploads that wait for tokens do
    not all come for the same one. Several threads may use it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0
        self._interval_s = 0.0

    def reserve(self) -> float:
        """Take the next free moment; the seconds until then."""
        with self._lock:
            now = self._clock()
            if self._next <= now:
                return 0.0
            wait_s = self._next - now
            self._next += self._interval_s
            return wait_s

    def learn(self, answer: httpx.Response) -> None:
        """Note what an answer says of the bucket: how fast it fills, and whether it is empty."""
        policy = _POLICY.search(answer.headers.get("ratelimit-policy", ""))
        state = _STATE.search(answer.headers.get("ratelimit", ""))
        if policy is None or state is None or int(state[1]) > 0:
            return
        with self._lock:
            self._interval_s = int(policy[2]) / max(1, int(policy[1]))
            self._next = max(self._next, self._clock() + min(float(state[2]), self._interval_s))
