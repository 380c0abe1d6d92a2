"""The ledger: bytes kept, bytes promised to uploads on their way in, and one limit for both."""

from app.storage.interface import StoreFull, StoreSnapshot


class _Space:
    """Bytes promised to one upload."""

    def __init__(self, ledger: "SpaceAccount", size: int) -> None:
        self._ledger = ledger
        self._size = size

    def release(self) -> None:
        self._ledger.reserved -= self._size
        self._size = 0


class SpaceAccount:
    """What a store counts of itself; `used` and `reserved` are bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.used = 0
        self.reserved = 0
        self.doubted = False
        """Whether the count refused somebody: it is checked then, for others may write and remove."""
        self._max_bytes = max_bytes

    def reserve(self, size: int) -> _Space:
        """Promise bytes to an upload. Raises StoreFull."""
        if self.used + self.reserved + size > self._max_bytes:
            self.doubted = True
            raise StoreFull(f"{self.used} of {self._max_bytes} bytes are kept")
        self.reserved += size
        return _Space(self, size)

    def snapshot(self) -> StoreSnapshot:
        """The count now."""
        return StoreSnapshot(self.used, self.reserved, self._max_bytes)
