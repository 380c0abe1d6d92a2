"""What the server says of itself while an act runs, from `/v1/stats` and `/v1/quota` alone."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from app.stampede.http_client import NoAnswer, ask
from app.stampede.target import BadTarget, Target

_POLL_INTERVAL_S = 0.25
_MAX_MEMORY_SAMPLES = 240
"""Samples of memory kept for the screen."""


class NoSpillway(BadTarget):
    """Raised when what answers is no Spillway."""


async def fetch_stats(target: Target) -> dict[str, Any]:
    """The document at `/v1/stats`.

    Raises:
        NoAnswer: no server answers.
        NoSpillway: the answer is no such document.
    """
    answer = await ask(target, "GET /v1/stats", timeout_s=10)
    stats = answer.json()
    if answer.status != 200 or not {"jobs", "backlog", "memory_bytes"} <= stats.keys():
        raise NoSpillway(f"http://{target.authority} is no Spillway: /v1/stats answers {answer.status}")
    return stats


@dataclass(slots=True)
class ServerStats:
    """The server's figures during one act; memory in bytes, the queue and what is beside it in uploads."""

    memory_before: int = 0
    memory_peak: int = 0
    memory_after: int = 0
    queue: int = 0
    queue_peak: int = 0
    capacity: int = 0
    overflow: int = 0
    overflow_peak: int = 0
    receiving: int = 0
    receiving_peak: int = 0
    drain_per_s: float = 0
    bucket: int | None = None
    bucket_size: int | None = None
    memory_samples: deque[int] = field(default_factory=lambda: deque(maxlen=_MAX_MEMORY_SAMPLES))

    def update(self, stats: dict[str, Any]) -> None:
        """Take in one document of `/v1/stats`."""
        backlog = stats["backlog"]
        self.memory_after = int(stats["memory_bytes"])
        self.memory_before = self.memory_before or self.memory_after
        self.memory_peak = max(self.memory_peak, self.memory_after)
        self.memory_samples.append(self.memory_after)
        self.queue = int(backlog["waiting"])
        self.queue_peak = max(self.queue_peak, self.queue)
        self.overflow = int(backlog.get("overflow", 0))
        self.overflow_peak = max(self.overflow_peak, self.overflow)
        self.receiving = int(backlog["receiving"])
        self.receiving_peak = max(self.receiving_peak, self.receiving)
        self.capacity = int(backlog["capacity"])
        self.drain_per_s = float(backlog["drain_per_s"])

    async def poll(self, target: Target, source: str | None) -> None:
        """Ask the server four times a second until cancelled; `source` is the client whose bucket is read."""
        while True:
            try:
                self.update(await fetch_stats(target))
                quota = (await ask(target, "GET /v1/quota", source=source, timeout_s=10)).json()
                self.bucket, self.bucket_size = quota.get("remaining"), quota.get("limit")
            except (NoAnswer, NoSpillway):
                pass  # the uploads will show that the server is gone; it may come back
            await asyncio.sleep(_POLL_INTERVAL_S)

    def add_figures(self, other: dict[str, Any]) -> None:
        """Take in what another process saw of the same server at the same time."""
        self.memory_before = min(self.memory_before, other["memory_before"])
        self.memory_peak = max(self.memory_peak, other["memory_peak"])
        self.queue_peak = max(self.queue_peak, other["queue_peak"])
        self.receiving_peak = max(self.receiving_peak, other["dock_peak"])

    def figures(self) -> dict[str, Any]:
        """The figures of the closing table, as plain data."""
        return {
            "memory_before": self.memory_before,
            "memory_peak": self.memory_peak,
            "memory_after": self.memory_after,
            "queue_peak": self.queue_peak,
            "capacity": self.capacity,
            "overflow_peak": self.overflow_peak,
            "dock_peak": self.receiving_peak,
        }
