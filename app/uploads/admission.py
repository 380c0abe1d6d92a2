"""Decides whether an upload may come in, by an ordered list of guards that run before its body is read.

    1  rate      a token of the client's bucket                                      429
    2  declared  a declared length or media type that can never be accepted          413, 415
    3  share     one client's part of the receiving slots and the queue              429
    4  open      the service is neither starting nor draining, and no circuit breaker is open         503
    5  queue     a receiving slot, or a reservation that has become due              503
    6  disk      bytes in the store                                                  507

Guard 1 stands alone, in `Admission.spend_token`: like the bouncer of a club it takes a token from everybody
who asks, so that whoever hammers a full queue soon gets 429 instead of 503. Guards 2 to 6 are the lists in
`Admission.__init__`. A refused request holds nothing but the token that it spent.

The same list serves two callers. The upload endpoint has FastAPI dependencies that run every guard. The
connection calls `Admission.reject_early` with the request's head alone, before there is a task for the
request: it answers only uploads that are certain to be refused, and lets all others through to the endpoint.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.types import Scope

from app.backpressure.circuit_breaker import BreakerOpen
from app.backpressure.rate_limiter import Grant
from app.backpressure.token_bucket import NANOSECONDS, Quota, RateLimited
from app.backpressure.upload_queue import ShareExceeded
from app.backpressure.waiting_room import QueueFull
from app.engine.interface import Draining, Engine, Starting
from app.server.client_connection import connection_of
from app.server.fast_reject import Refusal
from app.server.problems import ProblemError
from app.server.routes import query_of
from app.storage.interface import Store
from app.uploads.client_key import ClientKey
from app.uploads.file_kinds import explain_media_type
from app.uploads.file_sink import TooLarge, UnsupportedCoding, UnsupportedType
from app.uploads.idempotency import IdempotencyKeys
from app.uploads.multipart import MULTIPART, MULTIPART_ALLOWANCE
from app.uploads.reference import reference_of
from app.uploads.tickets import BadTicket, BeyondTicket, Tickets, Uploader, check_claims
from app.uploads.upload_request import (
    UploadRequest,
    declared,
    idempotency_keys,
    requester_of,
    upload_request,
)

_EARLY_REFUSALS = (ProblemError, ShareExceeded, Starting, Draining, BreakerOpen, QueueFull)
"""What the guards raise on the head alone."""
_RAW_TYPES = ("", "application/octet-stream")
"""Types of a body that is the file, besides those of images; it may have none."""
_MAX_DELAYED = 1000
"""Requests that the leaky bucket may delay at once; further ones are refused."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One step of the list. Each of the two functions raises the guard's refusal, or returns."""

    admit: Callable[[UploadRequest], Awaitable[None] | None]
    """Runs in the upload endpoint; what it returns is awaited."""
    reject_early: Callable[[UploadRequest], None] | None
    """Runs on the head alone and cannot wait; None for a guard that decides nothing there."""


class Admission:
    """Admits or refuses uploads."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        client_key: ClientKey,
        tickets: Tickets,
        idempotency_keys: IdempotencyKeys,
        is_lenient: Callable[[Scope], bool],
        max_bytes: int,
    ) -> None:
        """`is_lenient` tells who gets a degraded answer from a full queue; `max_bytes` bounds one file."""
        self._engine = engine
        self._store = store
        self._client_key = client_key
        self._tickets = tickets
        self._idempotency_keys = idempotency_keys
        self._is_lenient = is_lenient
        self._max_bytes = max_bytes
        self._delayed = 0
        # Guard(in the endpoint, on the head alone)
        self._file_guards = (
            Guard(self._check_declared, self._check_declared),  # 2
            Guard(self._read_reference, None),
            Guard(self._recognise_repeat, None),
        )
        self._load_guards = (
            Guard(self._check_share, self._check_share),  # 3
            Guard(self._check_open, self._check_open),  # 4
            Guard(self._reserve_slot, self._refuse_slot),  # 5
            Guard(self._reserve_space, None),  # 6
        )

    # --- on the head alone -----------------------------------------------------------------------------

    def reject_early(self, scope: Scope) -> Refusal | None:
        """The refusal of an upload that is certain to be refused; None leaves the decision to the endpoint.

        A refusal costs the client a token, as in the endpoint, if it has one.
        """
        address = self._client_key.of(scope)
        try:
            uploader = self._tickets.uploader(scope, address)
        except BadTicket as error:
            return self._reject_ticket(error, address)
        requester = requester_of(uploader, scope)
        limits = uploader.limits
        quota = self._engine.local_quota(uploader.bucket, limits)
        if self._engine.is_due(requester.key):
            return None
        if quota.remaining == 0:
            return Refusal(RateLimited(quota), quota)
        keys = idempotency_keys(scope)
        is_familiar = self._idempotency_keys.is_familiar
        if self._is_lenient(scope) or is_familiar(requester.client, keys, uploader.ticket):
            return None
        if not self._engine.certainly_refuses(requester):
            return None
        quota = self._engine.acquire_local_token(uploader.bucket, limits)
        upload = upload_request(scope, requester, quota, uploader.ticket)
        try:
            for guard in self._file_guards + self._load_guards:
                if guard.reject_early is not None:
                    guard.reject_early(upload)
        except _EARLY_REFUSALS as error:
            return Refusal(error, upload.quota)
        raise AssertionError("guard 5 refuses whatever the guards before it let through")

    def _reject_ticket(self, error: BadTicket, address: str) -> Refusal | None:
        """The refusal of a bad ticket, charged to the address, so that who guesses soon gets 429."""
        quota = self._engine.local_quota(address)
        if quota.remaining == 0:
            return Refusal(RateLimited(quota), quota)
        if not self._engine.gives_tokens_at_once:
            return None
        return Refusal(error, self._engine.acquire_local_token(address))

    # --- in the endpoint -------------------------------------------------------------------------------

    async def spend_token(self, request: Request) -> UploadRequest:
        """Guard 1: spend a token of the client, which the ticket names where tickets are needed.

        An upload that was refused and returns after its Retry-After spends none, once. Whoever has no good
        ticket, or asks for more than it allows, spends a token of the address.

        Raises:
            RateLimited: the client's bucket is empty.
            BadTicket, BeyondTicket: the upload needs a ticket, or another one.
        """
        scope = request.scope
        address = self._client_key.of(scope)
        try:
            uploader = self._tickets.uploader(scope, address)
            if uploader.ticket is not None:
                check_claims(uploader.ticket, query_of(scope), *declared(scope))
        except (BadTicket, BeyondTicket):
            await self._engine.acquire_token(address)
            raise
        return await self._spend(request, uploader)

    async def spend_owner_token(self, request: Request) -> UploadRequest:
        """Guard 1 for the holder of an image's delete token, who needs no ticket: a token of the address.

        Raises:
            RateLimited: the bucket of the address is empty.
        """
        return await self._spend(request, Uploader(self._client_key.of(request.scope)))

    async def _spend(self, request: Request, uploader: Uploader) -> UploadRequest:
        scope = request.scope
        requester = requester_of(uploader, scope)
        if self._engine.waive_token(requester.key):
            grant = Grant(self._engine.local_quota(uploader.bucket, uploader.limits), 0)
        else:
            grant = await self._engine.acquire_token(uploader.bucket, uploader.limits)
        request.state.quota = grant.quota
        if grant.delay_ns:
            await self._delay(grant.delay_ns, grant.quota)
        return upload_request(scope, requester, grant.quota, uploader.ticket)

    async def remaining_quota(self, scope: Scope) -> Quota:
        """What is left of the caller's quota, or of its ticket's client, in all processes; takes no token.

        Raises:
            BadTicket, RateLimited: its ticket is bad, which is charged to the address as in an upload.
        """
        address = self._client_key.of(scope)
        try:
            uploader = Uploader(address, self._tickets.ticket_of(scope))
        except BadTicket:
            await self._engine.acquire_token(address)
            raise
        return await self._engine.remaining_quota(uploader.bucket, uploader.limits)

    async def _delay(self, delay_ns: int, quota: Quota) -> None:
        """Hold a request for as long as the leaky bucket says, a bounded number of them at once."""
        if self._delayed >= _MAX_DELAYED:
            raise RateLimited(quota)
        self._delayed += 1
        try:
            await asyncio.sleep(delay_ns / NANOSECONDS)
        finally:
            self._delayed -= 1

    @asynccontextmanager
    async def admit(self, upload: UploadRequest, *, has_file: bool = True) -> AsyncIterator[None]:
        """Run guards 2 to 6, then the block, in which the body may be read.

        A request for more variants of a file that is here already has none in the body, so without `has_file`
        only guards 3 to 6 are run. After the block the slot and the space that the upload still holds are
        given back.

        Raises:
            TooLarge, UnsupportedType, UnsupportedCoding, ShareExceeded, Starting, Draining, BreakerOpen,
                QueueFull, StoreFull: a guard refused the upload.
            MalformedReference: its reference is none.
            MalformedKey, KeyInUse: its Idempotency-Key cannot be used.
            BadTicket: its ticket has been used.
            ClientGone: the client left while the upload waited for its receiving slot.
        """
        try:
            for guard in (self._file_guards if has_file else ()) + self._load_guards:
                decision = guard.admit(upload)
                if decision is not None:
                    await decision
            yield
        finally:
            upload.release()

    # --- the guards ------------------------------------------------------------------------------------
    # A repeat takes neither a slot nor space, so of these only guards 2 and 4 apply to it.

    def _check_declared(self, upload: UploadRequest) -> None:
        is_form = upload.media_type == MULTIPART
        is_image = upload.media_type.startswith("image/")
        if not is_form and not is_image and upload.media_type not in _RAW_TYPES:
            raise UnsupportedType(explain_media_type(upload.media_type))
        if upload.coding:
            raise UnsupportedCoding(upload.coding)
        max_body = self._max_bytes + MULTIPART_ALLOWANCE if is_form else self._max_bytes
        if upload.declared_size is not None and upload.declared_size > max_body:
            raise TooLarge(self._max_bytes, upload.declared_size)

    def _read_reference(self, upload: UploadRequest) -> None:
        ticket = upload.ticket
        upload.reference = ticket.reference if ticket and ticket.reference else reference_of(upload.scope)

    async def _recognise_repeat(self, upload: UploadRequest) -> None:
        keys = idempotency_keys(upload.scope)
        upload.keyed = await self._idempotency_keys.lookup(upload.client, keys, upload.ticket)

    def _check_share(self, upload: UploadRequest) -> None:
        if not upload.is_repeat:
            self._engine.check_share(upload.client, upload.share)

    def _check_open(self, upload: UploadRequest) -> None:
        self._engine.check_open(upload.requester, upload.quota.not_before)

    async def _reserve_slot(self, upload: UploadRequest) -> None:
        if not upload.is_repeat:
            watch = connection_of(upload.scope).on_disconnect
            upload.slot = await self._engine.reserve(upload.requester, upload.quota.not_before, watch)

    def _refuse_slot(self, upload: UploadRequest) -> None:
        self._engine.refuse(upload.requester, upload.quota.not_before)

    def _reserve_space(self, upload: UploadRequest) -> None:
        if not upload.is_repeat:
            size = self._max_bytes if upload.declared_size is None else upload.declared_size
            upload.space = self._store.reserve(min(size, self._max_bytes))
