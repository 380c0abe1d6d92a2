"""Keeping: what every store holds to, wherever its bytes are."""

import hashlib
import hmac
import time
from collections.abc import Callable

from app.job import Job, id_of_key
from app.storage.interface import Space, StoreSnapshot
from app.storage.space_account import SpaceAccount


class StoreBase:
    """A secret, a count of bytes, and how long a job is kept."""

    def __init__(self, max_bytes: int, retention: float, clock: Callable[[], float] = time.time) -> None:
        """Keeps about `max_bytes`, each finished job for `retention` seconds of `clock`'s time."""
        self.retention = retention
        self._clock = clock
        self._space = SpaceAccount(max_bytes)
        self._secret = b""

    def reserve(self, size: int) -> Space:
        return self._space.reserve(size)

    def snapshot(self) -> StoreSnapshot:
        return self._space.snapshot()

    def delete_token(self, job_id: str) -> str:
        return hmac.new(self._secret, job_id.encode(), hashlib.sha256).hexdigest()

    def id_of_key(self, client: str, key: str) -> str:
        return id_of_key(self._secret, client, key)

    def expires_at(self, job: Job) -> float | None:
        if not job.is_final or job.finished_at is None:
            return None
        return job.finished_at + self.retention

    def _expired(self, job: Job) -> bool:
        end = self.expires_at(job)
        return end is not None and end <= self._clock()
