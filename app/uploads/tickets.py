"""Tickets: who may upload, by JSON web tokens that the operator's backend signs (RFC 7519, RFC 8725).

With UPLOAD_KEYS every upload needs one as its bearer token (RFC 6750). It names the client in place of the
address, and may allow less than the settings do. PyJWT checks the signature. Which key and which algorithm
that is decided by comes from the settings; a ticket only chooses among them.
"""

import hashlib
import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from app.backpressure.token_bucket import GCRA
from app.runtime.recently_used import RecentlyUsed
from app.runtime.sizes import format_size
from app.server.headers import bearer_token
from app.server.problems import ProblemError
from app.settings import Settings
from app.upload_keys import VerifyingKey
from app.uploads.multipart import MULTIPART, MULTIPART_ALLOWANCE
from app.uploads.ticket_claims import LEEWAY_S, MAX_LIFE_S, BadClaims, Ticket, TicketLimits, read_claims

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm

MAX_TICKET_BYTES = 4096
_MAX_CACHED = 4096
"""Tickets that are remembered as verified."""
_TOKEN = re.compile(r"(([\w-]+)\.([\w-]+))\.([\w-]*)", re.ASCII)
"""A signed token (RFC 7515, section 7.1): group 1 is signed, 2 the header, 3 the claims, 4 the signature."""


class BadTicket(ProblemError):
    """Raised when an upload has no ticket, or one that is not good (any more)."""

    slug = "ticket"

    def __init__(self, detail: str, *, is_missing: bool = False) -> None:
        challenge = "Bearer" if is_missing else 'Bearer error="invalid_token"'
        super().__init__(detail, headers=[("WWW-Authenticate", challenge)])


class BeyondTicket(ProblemError):
    """Raised when an upload asks for more than its ticket allows."""

    slug = "beyond-ticket"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=[("WWW-Authenticate", 'Bearer error="insufficient_scope"')])


def too_large_for_ticket(max_bytes: int) -> BeyondTicket:
    """What is said to a file of more bytes than its ticket allows."""
    return BeyondTicket(f"The ticket allows a file of at most {format_size(max_bytes)}.")


@dataclass(frozen=True, slots=True)
class Uploader:
    """Whom an upload is charged to: an address, or the client that a ticket names."""

    address: str
    ticket: Ticket | None = None

    @property
    def client(self) -> str:
        """The key of the client."""
        return self.address if self.ticket is None else self.ticket.client_at(self.address)

    @property
    def bucket(self) -> str:
        """The key of its token bucket. A client has one for each set of limits, so that a ticket with other
        limits neither empties nor fills it."""
        if self.ticket is None or not self.ticket.bucket:
            return self.client
        return f"{self.client} {self.ticket.bucket}"

    @property
    def limits(self) -> GCRA | None:
        """The limits of that bucket; None for those of every address."""
        return None if self.ticket is None else self.ticket.limits


class Tickets:
    """Verifies tickets, and remembers a bounded number of those that were good."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        self._keys = {key.name: key for key in settings.upload_keys}
        self._limits = TicketLimits(settings)
        self._variants = [variant.name for variant in settings.variants]
        self._clock = clock
        self._candidates = lru_cache(maxsize=256)(self._find_candidates)
        self._verified: RecentlyUsed[Ticket] = RecentlyUsed(_MAX_CACHED)
        self._algorithms: Mapping[str, Algorithm] = {}
        """What checks a signature, by the name of the algorithm."""
        if self._keys:
            from jwt.algorithms import get_default_algorithms  # loads OpenSSL, which others do not need

            self._algorithms = get_default_algorithms()

    def uploader(self, scope: Scope, address: str) -> Uploader:
        """Whom an upload from this address is charged to.

        Raises:
            BadTicket: it needs a ticket and has none, or a bad one.
        """
        if not self._keys:
            return Uploader(address)
        ticket = self.ticket_of(scope)
        if ticket is None:
            detail = (
                "Uploading here needs a ticket: Authorization: Bearer, and a token from whoever runs this."
            )
            raise BadTicket(detail, is_missing=True)
        return Uploader(address, ticket)

    def ticket_of(self, scope: Scope) -> Ticket | None:
        """The ticket of a request, None if it has none, or if none are needed. Raises BadTicket."""
        if not self._keys:
            return None
        fields = [value for name, value in scope["headers"] if name == b"authorization"]
        token = bearer_token(fields[0].decode("latin-1")) if fields else None
        if token is None:
            return None
        if len(fields) > 1:
            raise BadTicket("The request has several Authorization fields.")
        return self.verify(token)

    def verify(self, token: str) -> Ticket:
        """The ticket that a token is. Raises BadTicket."""
        if len(token) > MAX_TICKET_BYTES:
            raise BadTicket(f"The ticket has more than {MAX_TICKET_BYTES} bytes.")
        digest = hashlib.sha256(token.encode("latin-1")).hexdigest()
        now = self._clock()
        try:
            ticket = self._verified.get(digest)
            if ticket is None:
                ticket = self._read(token)
                if ticket.valid_until - LEEWAY_S > now + MAX_LIFE_S + LEEWAY_S:
                    raise BadClaims("The ticket expires more than 24 hours from now.")
                ticket.check_time(now)
                self._verified.put(digest, ticket)
            else:
                ticket.check_time(now)
        except BadClaims as error:
            raise BadTicket(str(error)) from None
        return ticket

    def _read(self, token: str) -> Ticket:
        """The ticket, its signature checked and its times not yet. Raises BadClaims."""
        segments = _TOKEN.fullmatch(token)
        if segments is None:
            raise BadClaims("The ticket is not a signed JSON web token.")
        name, keys = self._candidates(segments[2])
        signed, signature = segments[1].encode(), _decode(segments[4])
        if not any(self._algorithms[key.algorithm].verify(signed, key.material, signature) for key in keys):
            raise BadClaims("The ticket's signature is not that of its key.")
        try:
            claims = json.loads(_decode(segments[3]).decode())
        except (ValueError, RecursionError):
            raise BadClaims("The ticket's claims are not JSON.") from None
        return read_claims(claims, name, self._limits, self._variants)

    def _find_candidates(self, segment: str) -> tuple[str, tuple[VerifyingKey, ...]]:
        """The name of the issuer that a token's first segment, its header, names, and the keys to try.

        Raises:
            BadClaims: there is no such key, or the header wants something that is not done here.
        """
        header = _parse_header(segment)
        if "crit" in header or header.get("b64", True) is not True:
            raise BadClaims("The ticket's header has extensions (crit, b64), which are not understood here.")
        kid, algorithm = header.get("kid"), header.get("alg")
        if kid is None and len(self._keys) == 1:
            (kid,) = self._keys
        issuers = [self._keys[kid]] if kid in self._keys else [*self._keys.values()]
        for issuer in issuers:
            found = tuple(
                key
                for key in issuer.keys
                if key.algorithm == algorithm
                and (issuer.name == kid or (key.kid is not None and key.kid == kid))
            )
            if found:
                return issuer.name, found
        raise BadClaims("The ticket's header (kid, alg) names no key that is accepted here.")


def _parse_header(segment: str) -> Mapping[str, Any]:
    try:
        header = json.loads(_decode(segment))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
        raise BadClaims("The ticket is not a signed JSON web token.")
    return header


def _decode(segment: str) -> bytes:
    """The bytes of a segment, which has nothing but letters of base64url in it.

    Each has one spelling only: bits that decoding would drop have to be zero.
    """
    try:
        data = urlsafe_b64decode(segment + "==")
    except ValueError:
        data = b""
    if urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise BadClaims("The ticket is not a signed JSON web token.")
    return data


def check_variants(allowed: Sequence[str] | None, names: str | None) -> None:
    """Check that `?variants=` names none but those that a ticket allows; either may be missing.

    Raises:
        BeyondTicket: it names others.
    """
    if allowed is None or names is None:
        return
    others = {name.strip() for name in names.split(",")}.difference(allowed)
    if others:
        raise BeyondTicket(f"The ticket allows the variants {', '.join(allowed)}, not {min(others)[:40]!r}.")


def check_claims(
    ticket: Ticket, query: Mapping[str, str], media_type: str, declared_size: int | None
) -> None:
    """Check by the head of an upload that it asks for nothing beyond its ticket.

    Raises:
        BeyondTicket: it does.
    """
    check_variants(ticket.variants, query.get("variants"))
    if ticket.reference is not None and query.get("reference", ticket.reference) != ticket.reference:
        raise BeyondTicket("The ticket is for another reference.")
    if ticket.max_bytes is not None and declared_size is not None:
        allowance = MULTIPART_ALLOWANCE if media_type == MULTIPART else 0
        if declared_size > ticket.max_bytes + allowance:
            raise too_large_for_ticket(ticket.max_bytes)
