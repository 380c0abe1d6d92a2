"""Small documents that a bucket keeps as objects below one name."""

import heapq

from app.storage.s3.client import S3Client

_MARGIN = 1000
"""So many names are gathered beyond those wanted before the newest of them are let go."""


class KeptObjects:
    """Keeps documents as objects `<folder>/<name>`."""

    def __init__(self, client: S3Client, folder: str) -> None:
        self._client = client
        self._folder = folder

    async def keep(self, name: str, data: bytes) -> None:
        await self._client.put(f"{self._folder}/{name}", data, len(data))

    async def read(self, name: str) -> bytes | None:
        try:
            data, _ = await self._client.get(f"{self._folder}/{name}")
        except FileNotFoundError:
            return None
        return data

    async def forget(self, name: str) -> None:
        await self._client.delete([f"{self._folder}/{name}"])

    async def oldest(self, limit: int) -> tuple[list[tuple[float, str]], int]:
        found: list[tuple[float, str]] = []
        count = 0
        async for item in self._client.list(self._folder):
            count += 1
            found.append((item.written_at, item.name.removeprefix(f"{self._folder}/")))
            if len(found) >= limit + _MARGIN:
                found = heapq.nsmallest(limit, found)
        return heapq.nsmallest(limit, found), count
