"""What the server says of itself while an act runs, from /v1/stats and /v1/quota alone."""

import asyncio
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from app.stampede.http_client import Unseen, ask
from app.stampede.target import BadTarget, Target

_EVERY_S = 0.25
_TRACE = 240
"""Samples of memory kept for the screen."""


class NoSpillway(BadTarget):
    """Raised when what answers is no Spillway."""


async def stats(target: Target) -> dict[str, Any]:
    """The server's snapshot. Raises Unseen, or NoSpillway when it is not one."""
    answer = await ask(target, "GET /v1/stats", patience=10)
    found = answer.json()
    if answer.status != 200 or not {"jobs", "backlog", "memory_bytes"} <= found.keys():
        raise NoSpillway(f"http://{target.authority} is no Spillway: /v1/stats answers {answer.status}")
    return found


@dataclass(slots=True)
class Watch:
    """The server's figures of one act: bytes, and places of queue and dock."""

    memory_before: int = 0
    memory_peak: int = 0
    memory_after: int = 0
    queue: int = 0
    queue_peak: int = 0
    capacity: int = 0
    dock: int = 0
    dock_peak: int = 0
    drain_per_s: float = 0
    bucket: int | None = None
    bucket_size: int | None = None
    trace: deque[int] = field(default_factory=lambda: deque(maxlen=_TRACE))

    def enter(self, found: dict[str, Any]) -> None:
        """Enter one snapshot."""
        backlog = found["backlog"]
        self.memory_after = int(found["memory_bytes"])
        self.memory_before = self.memory_before or self.memory_after
        self.memory_peak = max(self.memory_peak, self.memory_after)
        self.trace.append(self.memory_after)
        self.queue, self.dock = int(backlog["waiting"]), int(backlog["receiving"])
        self.queue_peak, self.dock_peak = max(self.queue_peak, self.queue), max(self.dock_peak, self.dock)
        self.capacity, self.drain_per_s = int(backlog["capacity"]), float(backlog["drain_per_s"])

    async def follow(self, target: Target, source: str | None) -> None:
        """Look four times a second, until cancelled; `source` is the client whose bucket is shown."""
        while True:
            try:
                self.enter(await stats(target))
                quota = (await ask(target, "GET /v1/quota", source=source, patience=10)).json()
                self.bucket, self.bucket_size = quota.get("remaining"), quota.get("limit")
            except (Unseen, NoSpillway):
                pass  # the uploads tell of a server that is gone; it may come back
            await asyncio.sleep(_EVERY_S)

    def figures(self) -> dict[str, Any]:
        """All of it as plain data."""
        names = ("memory_before", "memory_peak", "memory_after", "queue_peak", "capacity", "dock_peak")
        return {name: value for name, value in asdict(self).items() if name in names}
