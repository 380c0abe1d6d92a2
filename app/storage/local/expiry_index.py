"""An index of ended jobs by the time of their end, so that a sweep looks only at those which are due."""

import heapq
import math
import struct
from collections.abc import Iterable

_BUCKET_S = 60
_ENTRY = struct.Struct("<d16s")


class ExpiryIndex:
    """Ids of jobs, in buckets of one minute; 24 bytes for each.

    A bucket is looked into when its minute has come, so adding and taking cost what is added and taken, and
    not what is kept. The records are the truth: what is here is looked up in them before it is acted on.
    """

    def __init__(self, buckets: Iterable[tuple[int, bytes]] = ()) -> None:
        """With what `buckets()` gave."""
        self._buckets = {number: bytearray(entries) for number, entries in buckets}
        self._order = sorted(self._buckets)
        """A heap of the numbers of the buckets: whole minutes since the epoch."""

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._buckets.values()) // _ENTRY.size

    def add(self, ended_at: float, job_id: str) -> None:
        """Add a job that ended at that time, in seconds since the epoch. It may be here already."""
        number = math.floor(ended_at / _BUCKET_S)
        entries = self._buckets.get(number)
        if entries is None:
            entries = self._buckets[number] = bytearray()
            heapq.heappush(self._order, number)
        entries += _ENTRY.pack(ended_at, bytes.fromhex(job_id))

    def take(self, until: float, limit: int) -> list[tuple[float, str]]:
        """Remove about the first `limit` jobs that ended until then; (ended at, id) of each."""
        taken: list[tuple[float, str]] = []
        while len(taken) < limit and self._order and self._order[0] * _BUCKET_S <= until:
            number = self._order[0]
            entries = self._buckets[number]
            if (number + 1) * _BUCKET_S <= until:
                start = max(0, len(entries) - (limit - len(taken)) * _ENTRY.size)
                due, left = entries[start:], entries[:start]
            else:  # the last minute, of which only a part has come
                due, left = bytearray(), bytearray()
                for at in range(0, len(entries), _ENTRY.size):
                    is_due = _ENTRY.unpack_from(entries, at)[0] <= until
                    (due if is_due else left).extend(entries[at : at + _ENTRY.size])
            taken += [(ended_at, name.hex()) for ended_at, name in _ENTRY.iter_unpack(due)]
            self._buckets[number] = left
            if left:
                break
            heapq.heappop(self._order)
            del self._buckets[number]
        return taken

    def buckets(self) -> list[tuple[int, bytes]]:
        """Everything, as (minute, entries), to be kept in a file."""
        return [(number, bytes(entries)) for number, entries in self._buckets.items()]
