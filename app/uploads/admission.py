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
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import Scope

from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.rate_limiter import Grant
from app.backpressure.reservations import Requester
from app.backpressure.token_bucket import NANOSECONDS, Quota, RateLimited
from app.backpressure.upload_queue import ShareExceeded
from app.backpressure.waiting_room import QueueFull
from app.engine.interface import Draining, Engine, UploadSlot
from app.server.headers import media_type
from app.server.problems import ProblemError
from app.storage.interface import Space, Store
from app.uploads.client_key import ClientKey, net_of
from app.uploads.idempotency import IdempotencyKeys, KeyedUpload

MULTIPART = "multipart/form-data"
ACCEPT = f"{MULTIPART}, image/*, application/octet-stream"
"""The media types that an upload may have, as an Accept field."""
MULTIPART_ALLOWANCE = 64 * 1024
"""Bytes that the form may add to the file."""
_MOST_HELD = 1000
_MOST_MARK = 128


class TooLarge(ProblemError):
    """Raised when a file has, or a request declares, more bytes than are accepted."""

    slug = "too-large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"The file is too large: at most {max_bytes} bytes are accepted.",
            headers=[("Upload-Limit", f"max-size={max_bytes}")],
        )


class UnsupportedType(ProblemError):
    """Raised when the declared media type, or the first bytes, are not those of an accepted image."""

    slug = "unsupported-media-type"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=[("Accept", ACCEPT)])


@dataclass(slots=True)
class UploadRequest:
    """An upload at the gate, its body unread; what the guards gave it so far."""

    requester: Requester
    quota: Quota
    type: str
    declared: int | None
    keyed: KeyedUpload | None = None
    place: UploadSlot | None = None
    space: Space | None = None

    @property
    def client(self) -> str:
        """The key of the client."""
        return self.requester.client

    @property
    def is_repeat(self) -> bool:
        """Whether there is the job already that this upload's Idempotency-Key stands for."""
        return self.keyed is not None and self.keyed.is_known

    def release(self) -> None:
        """Give back what is still held."""
        if self.place is not None:
            self.place.release()
        if self.space is not None:
            self.space.release()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an upload may not come in, and what its client has left."""

    error: Exception
    quota: Quota


class Admission:
    """Passes or refuses uploads; its two dependencies are what the upload endpoint depends on."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        client_key: ClientKey,
        idempotency_keys: IdempotencyKeys,
        is_lenient: Callable[[Scope], bool],
        max_bytes: int,
    ) -> None:
        """`is_lenient`: who gets a softer answer than a full queue's; `max_bytes`: the most of one file."""
        self._engine = engine
        self._store = store
        self._client_key = client_key
        self._idempotency_keys = idempotency_keys
        self._is_lenient = is_lenient
        self._max_bytes = max_bytes
        self._held = 0

    def client(self, scope: Scope) -> str:
        """The key of the client behind a request."""
        peer = scope["client"]
        return self._client_key(peer[0] if peer else None, scope["headers"])

    def reject_early(self, scope: Scope) -> Refusal | None:
        """The refusal of an upload that is certain to get one, by its head alone; None: the bouncer decides.

        A token is spent as there, if there is one.
        """
        client = self.client(scope)
        key = _upload_key(client, scope)
        quota = self._engine.local_quota(client)
        if self._engine.is_due(key):
            return None
        if quota.remaining == 0:
            return Refusal(RateLimited(quota), quota)
        if self._is_lenient(scope) or self._idempotency_keys.is_familiar(client, _keys(scope)):
            return None
        upload = _upload_request(scope, Requester(key, client, net_of(client)), quota)

        def check(left: Quota) -> None:
            upload.quota = left
            self._check_declared(upload)
            self._check_share_and_open(upload)

        try:
            self._engine.turn_away(upload.requester, check)
        except (TooLarge, UnsupportedType, ShareExceeded, Draining, BreakerOpen, QueueFull) as error:
            return Refusal(error, upload.quota)
        return None

    async def spend_token(self, request: Request) -> UploadRequest:
        """Guard 1, a FastAPI dependency: spends a token. Asking is what costs, but for who returns as told.

        Raises:
            RateLimited: the client's bucket is empty.
        """
        client = self.client(request.scope)
        requester = Requester(_upload_key(client, request.scope), client, net_of(client))
        if self._engine.waive_token(requester.key):
            grant = Grant(self._engine.local_quota(client), 0)
        else:
            grant = await self._engine.acquire_token(client)
        request.state.quota = grant.quota
        if grant.delay_ns:
            await self._hold(grant.delay_ns, grant.quota)
        return _upload_request(request.scope, requester, grant.quota)

    async def _hold(self, delay_ns: int, quota: Quota) -> None:
        """The leaky bucket's wait, for a bounded number of requests at once."""
        if self._held >= _MOST_HELD:
            raise RateLimited(quota)
        self._held += 1
        try:
            await asyncio.sleep(delay_ns / NANOSECONDS)
        finally:
            self._held -= 1

    def admit(self) -> Callable[..., AsyncIterator[UploadRequest]]:
        """Guards 2 to 6 as a FastAPI dependency that gives back, at its end, whatever was not handed on.

        A repeat takes nothing but its client's token, so only guards 2 and 4 are its own.
        """

        async def admitted(
            request: Request, upload: Annotated[UploadRequest, Depends(self.spend_token)]
        ) -> AsyncIterator[UploadRequest]:
            try:
                self._check_declared(upload)
                upload.keyed = await self._idempotency_keys.lookup(upload.client, _keys(request.scope))
                self._check_share_and_open(upload)
                if not upload.is_repeat:
                    upload.place = await self._engine.reserve(
                        upload.requester, upload.quota.not_before, request.state.watch
                    )
                    upload.space = self._reserve_space(upload)
                yield upload
            finally:
                upload.release()

        return admitted

    def _check_share_and_open(self, upload: UploadRequest) -> None:
        """Guards 3 and 4; a repeat takes no part of anything, so its client may have all of its share."""
        if not upload.is_repeat:
            self._engine.check_share(upload.client)
        self._engine.check_open(upload.requester, upload.quota.not_before)

    def _check_declared(self, upload: UploadRequest) -> None:
        form = upload.type == MULTIPART
        if not (form or upload.type.startswith("image/") or upload.type == "application/octet-stream"):
            shown = upload.type[:60] or "none"
            raise UnsupportedType(
                f"Content-Type is {shown}: not a form, an image or application/octet-stream."
            )
        most = self._max_bytes + MULTIPART_ALLOWANCE if form else self._max_bytes
        if upload.declared is not None and upload.declared > most:
            raise TooLarge(self._max_bytes)

    def _reserve_space(self, upload: UploadRequest) -> Space:
        most = self._max_bytes if upload.declared is None else upload.declared
        return self._store.reserve(min(most, self._max_bytes))


def _upload_request(scope: Scope, requester: Requester, quota: Quota) -> UploadRequest:
    headers = Headers(scope=scope)
    length = headers.get("content-length")
    declared = int(length) if length is not None and length.isdecimal() else None
    return UploadRequest(requester, quota, media_type(headers.get("content-type")), declared)


def _keys(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"]


def _upload_key(client: str, scope: Scope) -> str:
    """What an upload is known by when it returns: its client, and its Idempotency-Key or else its length."""
    fields = dict(scope["headers"])
    mark = fields.get(b"idempotency-key") or fields.get(b"content-length") or b""
    return f"{client}/{mark[:_MOST_MARK].decode('latin-1')}"
