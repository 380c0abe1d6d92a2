"""The gate: decides whether an upload may come in, in one ordered list of guards.

    1  rate      a token of the client's bucket                     429
    2  declared  a length or type that can never be taken            413, 415
    3  share     one client's part of the dock and the queue         429
    4  open      not draining, no breaker open                       503
    5  queue     a place in the dock, its turn having come            503
    6  disk      bytes in the store                                  507

All act before a byte of the body is read. A refused request holds nothing but the token that it spent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from app.address import ClientKey, net_of
from app.bucket import NANOSECONDS, Quota, RateLimited
from app.door import Watch
from app.engine import Engine, Place
from app.fields import media_type
from app.limiter import Grant
from app.store import Space, Store
from app.turns import Visitor

MULTIPART = "multipart/form-data"
MULTIPART_ALLOWANCE = 64 * 1024
"""Bytes that the form may add to the file."""
_MOST_HELD = 1000
_MOST_MARK = 128


class TooLarge(Exception):  # noqa: N818 - a refusal, not an error
    """Raised when a file has, or a request declares, more bytes than are taken."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"at most {max_bytes} bytes are taken")
        self.max_bytes = max_bytes


class UnsupportedType(Exception):  # noqa: N818 - a refusal, not an error
    """Raised when the declared type, or the first bytes, are not those of an accepted image."""


@dataclass(slots=True)
class Arrival:
    """An upload at the gate, its body unread; what the guards gave it so far."""

    visitor: Visitor
    quota: Quota
    type: str
    declared: int | None
    watch: Watch
    """Tells when its client goes away while its body is unread."""
    place: Place | None = None
    space: Space | None = None

    @property
    def client(self) -> str:
        """The key of the client."""
        return self.visitor.client

    @property
    def not_before(self) -> float:
        """Seconds before which the client has no token to come back with."""
        return 0.0 if self.quota.remaining else self.quota.next_token_ms / 1000

    def release(self) -> None:
        """Give back what is still held."""
        if self.place is not None:
            self.place.release()
        if self.space is not None:
            self.space.release()


class Gate:
    """Passes or refuses uploads; its two dependencies are what the upload endpoint depends on."""

    def __init__(self, engine: Engine, store: Store, client_key: ClientKey, max_bytes: int) -> None:
        """`max_bytes` is the most that one file may have."""
        self._engine = engine
        self._store = store
        self._client_key = client_key
        self._max_bytes = max_bytes
        self._held = 0
        self._guards: tuple[Callable[[Arrival], Awaitable[None]], ...] = (
            self._guard_declared,
            self._guard_share,
            self._guard_open,
            self._guard_queue,
            self._guard_disk,
        )

    def client(self, scope: Scope) -> str:
        """The key of the client behind a request."""
        peer = scope["client"]
        return self._client_key(peer[0] if peer else None, scope["headers"])

    def quota_or_due(self, scope: Scope) -> Quota | None:
        """What an upload's client has left, unspent; None when it returns at its turn and owes no token."""
        client = self.client(scope)
        quota = self._engine.quota(client)
        if quota.remaining == 0 and self._engine.is_due(_upload_key(client, scope)):
            return None
        return quota

    async def bouncer(self, request: Request) -> Arrival:
        """Guard 1, a FastAPI dependency: spends a token. Asking is what costs, but for who returns as told.

        Raises:
            RateLimited: the client's bucket is empty.
        """
        client = self.client(request.scope)
        visitor = Visitor(_upload_key(client, request.scope), client, net_of(client))
        if self._engine.excuse(visitor.key):
            grant = Grant(self._engine.quota(client), 0)
        else:
            grant = await self._engine.spend(client)
        request.state.quota = grant.quota
        if grant.delay_ns:
            await self._hold(grant.delay_ns, grant.quota)
        headers = request.headers
        length = headers.get("content-length")
        return Arrival(
            visitor,
            grant.quota,
            media_type(headers.get("content-type")),
            int(length) if length is not None and length.isdecimal() else None,
            request.state.watch,
        )

    async def _hold(self, delay_ns: int, quota: Quota) -> None:
        """The leaky bucket's wait, for a bounded number of requests at once."""
        if self._held >= _MOST_HELD:
            raise RateLimited(quota)
        self._held += 1
        try:
            await asyncio.sleep(delay_ns / NANOSECONDS)
        finally:
            self._held -= 1

    def doorman(self) -> Callable[..., AsyncIterator[Arrival]]:
        """Guards 2 to 6 as a FastAPI dependency that gives back, at its end, whatever was not handed on."""

        async def admitted(
            arrival: Annotated[Arrival, Depends(self.bouncer)],
        ) -> AsyncIterator[Arrival]:
            try:
                for guard in self._guards:
                    await guard(arrival)
                yield arrival
            finally:
                arrival.release()

        return admitted

    async def _guard_declared(self, arrival: Arrival) -> None:
        form = arrival.type == MULTIPART
        if not (form or arrival.type.startswith("image/") or arrival.type == "application/octet-stream"):
            shown = arrival.type[:60] or "none"
            raise UnsupportedType(
                f"Content-Type is {shown}: not a form, an image or application/octet-stream."
            )
        most = self._max_bytes + MULTIPART_ALLOWANCE if form else self._max_bytes
        if arrival.declared is not None and arrival.declared > most:
            raise TooLarge(self._max_bytes)

    async def _guard_share(self, arrival: Arrival) -> None:
        self._engine.check_share(arrival.client)

    async def _guard_open(self, arrival: Arrival) -> None:
        self._engine.check_open(arrival.visitor, arrival.not_before)

    async def _guard_queue(self, arrival: Arrival) -> None:
        arrival.place = await self._engine.reserve(arrival.visitor, arrival.not_before, arrival.watch)

    async def _guard_disk(self, arrival: Arrival) -> None:
        most = self._max_bytes if arrival.declared is None else arrival.declared
        arrival.space = self._store.reserve(min(most, self._max_bytes))


def _upload_key(client: str, scope: Scope) -> str:
    """What an upload is known by when it returns: its client, and its Idempotency-Key or else its length."""
    fields = dict(scope["headers"])
    mark = fields.get(b"idempotency-key") or fields.get(b"content-length") or b""
    return f"{client}/{mark[:_MOST_MARK].decode('latin-1')}"
