"""Leases: places in the dock that count for all replicas, each a message that its holder deletes.

The server refuses one too many by itself, so the bound is exact however many replicas ask at once. The places
of a replica that died come back when their leases run out.
"""

import asyncio

from app.jetstream import AWAY, LEASE_SUBJECT, LEASES, Full, Link


class Leases:
    """Takes and gives back; knows how many are out."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._own: set[int] = set()
        self._returning: set[asyncio.Task[None]] = set()
        self.elsewhere = 0
        """How many other replicas hold, when last counted."""

    async def take(self) -> int | None:
        """A lease, or None when all are out. Raises EngineDown, BreakerOpen."""
        try:
            async with self._link.asking() as js:
                lease = (await js.publish(LEASE_SUBJECT)).seq
        except Full:
            return None
        self._own.add(lease)
        return lease

    def give_back(self, lease: int) -> None:
        """Let others have it, in a moment; one that cannot be returned runs out by itself."""
        self._own.discard(lease)
        task = asyncio.create_task(self._return(lease))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _return(self, lease: int) -> None:
        try:
            async with self._link.asking() as js:
                await js.delete_msg(LEASES, lease)
        except AWAY:
            pass

    async def count(self) -> None:
        """Look how many are out. Raises EngineDown, BreakerOpen."""
        async with self._link.asking() as js:
            out = (await js.stream_info(LEASES)).state.messages
        self.elsewhere = max(0, out - len(self._own) - len(self._returning))
