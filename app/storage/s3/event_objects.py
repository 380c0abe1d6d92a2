"""Events that wait to be delivered, as objects of a bucket: `outbox/<name>`."""

import heapq

from app.storage.s3.client import S3Client

OUTBOX = "outbox"
_MARGIN = 1000
"""So many names are gathered beyond those wanted before the newest of them are let go."""


class EventObjects:
    """Keeps events in a bucket, for the one process that delivers them."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def keep(self, name: str, data: bytes) -> None:
        await self._client.put(f"{OUTBOX}/{name}", data, len(data))

    async def read(self, name: str) -> bytes | None:
        try:
            data, _ = await self._client.get(f"{OUTBOX}/{name}")
        except FileNotFoundError:
            return None
        return data

    async def forget(self, name: str) -> None:
        await self._client.delete([f"{OUTBOX}/{name}"])

    async def oldest(self, limit: int) -> tuple[list[tuple[float, str]], int]:
        found: list[tuple[float, str]] = []
        count = 0
        async for item in self._client.list(OUTBOX):
            count += 1
            found.append((item.written_at, item.name.removeprefix(f"{OUTBOX}/")))
            if len(found) >= limit + _MARGIN:
                found = heapq.nsmallest(limit, found)
        return heapq.nsmallest(limit, found), count
