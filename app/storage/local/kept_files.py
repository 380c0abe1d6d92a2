"""Small documents that a local store keeps as files of one folder."""

import heapq
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from app.storage.local import durable
from app.storage.spool import raising_store_full

_STALE_S = 60.0
"""Seconds after which a file that was being written when the process died is removed."""


class KeptFiles:
    """Keeps documents in a folder, which the directory of the store makes."""

    def __init__(self, folder: Path, run_in_thread: Callable[..., Awaitable[Any]]) -> None:
        """`run_in_thread` runs a blocking call in a thread and awaits it."""
        self._folder = folder
        self._run_in_thread = run_in_thread

    async def keep(self, name: str, data: bytes) -> None:
        await self._run_in_thread(self._write, name, data)

    def _write(self, name: str, data: bytes) -> None:
        with raising_store_full():
            durable.replace(self._folder / name, data)

    async def read(self, name: str) -> bytes | None:
        try:
            data: bytes = await self._run_in_thread((self._folder / name).read_bytes)
        except FileNotFoundError:
            return None
        return data

    async def forget(self, name: str) -> None:
        await self._run_in_thread((self._folder / name).unlink, missing_ok=True)

    async def oldest(self, limit: int) -> tuple[list[tuple[float, str]], int]:
        found: tuple[list[tuple[float, str]], int] = await self._run_in_thread(self._oldest, limit)
        return found

    def _oldest(self, limit: int) -> tuple[list[tuple[float, str]], int]:
        count = 0

        def files() -> Iterator[tuple[float, str]]:
            nonlocal count
            for entry in os.scandir(self._folder):
                try:
                    kept_at = entry.stat(follow_symlinks=False).st_mtime
                    if not entry.name.endswith(".new"):
                        count += 1
                        yield kept_at, entry.name
                    elif kept_at < time.time() - _STALE_S:
                        Path(entry.path).unlink(missing_ok=True)
                except FileNotFoundError:  # delivered meanwhile
                    continue

        return heapq.nsmallest(limit, files()), count
