"""An upload as its head describes it, and what the guards give it."""

import hashlib
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from app.backpressure.reservation_table import Requester
from app.backpressure.token_bucket import Quota
from app.engine.interface import UploadSlot
from app.server.headers import media_type
from app.storage.interface import Space
from app.uploads.client_key import net_of
from app.uploads.idempotency import KeyedUpload
from app.uploads.ticket_claims import Ticket
from app.uploads.tickets import Uploader

_MAX_UPLOAD_MARK = 40
"""Longest Idempotency-Key or Content-Length that stands for its upload itself; of others it is a digest."""


@dataclass(slots=True)
class UploadRequest:
    """An upload whose body is unread, and what the guards gave it so far."""

    scope: Scope
    requester: Requester
    quota: Quota
    """The client's rate limit, after a token was spent."""
    media_type: str
    declared_size: int | None
    """The Content-Length in bytes."""
    ticket: Ticket | None
    """What it may be, where uploads need a ticket."""
    coding: str = ""
    """The Content-Encoding; empty if there is none that changes the body."""
    keyed: KeyedUpload | None = None
    slot: UploadSlot | None = None
    space: Space | None = None
    reference: str | None = None
    """What the client, or its ticket, calls the upload."""

    @property
    def client(self) -> str:
        """The key of the client."""
        return self.requester.client

    @property
    def default_variants(self) -> str | None:
        """The variants to make if none are asked for, as `?variants=` names them; None for all."""
        return None if self.ticket is None or self.ticket.variants is None else ",".join(self.ticket.variants)

    @property
    def share(self) -> int | None:
        """The share of the client in uploads and jobs, if its ticket gives it one of its own."""
        return None if self.ticket is None else self.ticket.share

    @property
    def is_repeat(self) -> bool:
        """Whether the job that this upload's Idempotency-Key stands for exists already."""
        return self.keyed is not None and self.keyed.is_known

    def release(self) -> None:
        """Give back what is still held."""
        if self.slot is not None:
            self.slot.release()
        if self.space is not None:
            self.space.release()


def upload_request(scope: Scope, requester: Requester, quota: Quota, ticket: Ticket | None) -> UploadRequest:
    """The upload that a request is."""
    codings = ",".join(Headers(scope=scope).getlist("content-encoding")).split(",")
    coding = ", ".join(each for each in codings if each.strip().lower() not in ("", "identity"))
    return UploadRequest(scope, requester, quota, *declared(scope), ticket, coding)


def declared(scope: Scope) -> tuple[str, int | None]:
    """The media type of a body, and its length in bytes if its head says it."""
    headers = Headers(scope=scope)
    length = headers.get("content-length")
    size = int(length) if length is not None and length.isdecimal() else None
    return media_type(headers.get("content-type")), size


def requester_of(uploader: Uploader, scope: Scope) -> Requester:
    """Who asks to bring in which upload."""
    client = uploader.client
    return Requester(_upload_key(client, scope), client, net_of(client))


def idempotency_keys(scope: Scope) -> list[str]:
    """The values of the Idempotency-Key fields."""
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"]


def _upload_key(client: str, scope: Scope) -> str:
    """Identifies an upload that returns: its client, and its Idempotency-Key or else its length."""
    fields = dict(scope["headers"])
    mark = fields.get(b"idempotency-key") or fields.get(b"content-length") or b""
    if len(mark) > _MAX_UPLOAD_MARK or not mark.isascii():
        mark = hashlib.blake2s(mark, digest_size=16).hexdigest().encode()
    return f"{client}/{mark.decode()}"
