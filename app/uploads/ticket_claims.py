"""What a ticket allows, read from the claims of a JWT whose signature has been checked (RFC 7519).

Claims are read strictly. A mistake of the issuer gets a sentence that names the claim, and is never taken for
something near it: `true` is no number, `"5"` is none either.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from app.backpressure.token_bucket import GCRA
from app.settings import Settings
from app.uploads.reference import is_reference

LEEWAY_S = 60.0
"""Seconds by which the clocks of an issuer and of this machine may differ."""
MAX_LIFE_S = 86_400.0
"""Seconds for which a ticket may be good."""
AUDIENCE = "spillway"
"""What a ticket that names an audience has to name (RFC 7519, section 4.1.3)."""
_MAX_TEXT = 255
_MAX_TIME = 2.0**40
"""Seconds since the epoch: thousands of years ahead, and still exact in a double."""
_MIN_RATE, _MAX_RATE = 0.001, 100_000.0
_MAX_BURST, _MAX_SHARE, _MAX_BYTES = 1_000_000, 200_000, 2**40


class BadClaims(Exception):
    """Raised when the claims are no ticket, or none at this time; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What one ticket allows. None stands for what it does not restrict."""

    key: str
    """The name of the key that signed it."""
    valid_from: float
    valid_until: float
    """Seconds since the epoch, the leeway included."""
    limits: GCRA
    """The rate limit of its client."""
    bucket: str
    """Tells buckets of one client apart that have different limits; empty for those of the settings."""
    client: str | None = None
    """The key of its client; None where that is the address it comes from."""
    share: int | None = None
    max_bytes: int | None = None
    variants: tuple[str, ...] | None = None
    reference: str | None = None
    single_use: str | None = field(default=None, repr=False)
    """Its `jti`, if it is good for one accepted upload."""

    def check_time(self, now: float) -> None:
        """Raises BadClaims when the ticket is not valid at `now`, in seconds since the epoch."""
        if now >= self.valid_until:
            raise BadClaims("The ticket has expired.")
        if now < self.valid_from:
            raise BadClaims("The ticket is not valid yet.")

    def client_at(self, address: str) -> str:
        """The key of the client behind the ticket, when it comes from this address."""
        return self.client or client_key(self.key, "address", address)


def client_key(key: str, kind: str, name: str) -> str:
    """The key of a client with a ticket, for tables and logs.

    It is a digest, so that it has one length, shows nothing of the name, and never is an address or the key
    of a client of another issuer.
    """
    named = f"{key}\0{kind}\0{name}".encode()
    return f"ticket:{hashlib.blake2b(named, digest_size=16).hexdigest()}"


class TicketLimits:
    """The rate limits of clients with tickets: those of the settings, where a ticket has none of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = lru_cache(maxsize=1024)(self._make)

    def of(self, rate: float | None, burst: int | None) -> GCRA:
        """The limits for these claims; None stands for one that is missing."""
        return self._limits(rate, burst)

    def _make(self, rate: float | None, burst: int | None) -> GCRA:
        rate = rate or self._settings.rate
        if self._settings.limiter == "token_bucket":
            return GCRA.token_bucket(rate, burst or self._settings.burst, "ticket")
        max_delay = self._settings.max_delay
        if burst is not None:  # as many requests as can be delayed at once, and the one that is not
            max_delay = min(max_delay, (burst - 1) / rate)
        return GCRA.leaky_bucket(rate, max_delay, "ticket")


def read_claims(claims: Any, key: str, limits: TicketLimits, known_variants: Collection[str]) -> Ticket:
    """The ticket that these claims describe; `key` is the name of the key that signed them.

    Its times are not compared with the clock yet, but for one another.

    Raises:
        BadClaims: a claim is missing, is not what it has to be, or names a variant that is not known here.
    """
    if not isinstance(claims, dict):
        raise BadClaims("The ticket's claims are not a JSON object.")
    _check_audience(claims)
    expires_at = _number(claims, "exp", 0, _MAX_TIME)
    if expires_at is None:
        raise BadClaims("The ticket has no exp claim, which has to say when it expires.")
    begins = [_number(claims, name, 0, _MAX_TIME) or 0.0 for name in ("nbf", "iat")]
    rate = _number(claims, "rate", _MIN_RATE, _MAX_RATE)
    burst = _integer(claims, "burst", _MAX_BURST)
    sub = _text(claims, "sub")
    return Ticket(
        key=key,
        valid_from=max(begins) - LEEWAY_S,
        valid_until=expires_at + LEEWAY_S,
        limits=limits.of(rate, burst),
        bucket="" if rate is None and burst is None else f"{rate}/{burst}",
        client=None if sub is None else client_key(key, "sub", sub),
        share=_integer(claims, "share", _MAX_SHARE),
        max_bytes=_integer(claims, "max_bytes", _MAX_BYTES),
        variants=_variants(claims, known_variants),
        reference=_claim(claims, "reference", _is_reference, "1 to 128 printable characters"),
        single_use=_single_use(claims),
    )


def _check_audience(claims: Mapping[str, Any]) -> None:
    """A token that names its audience is for that one alone; it may be signed by the same key."""
    audience = claims.get("aud", AUDIENCE)
    if AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
        raise BadClaims(f'The ticket is for another audience (aud) than "{AUDIENCE}".')


def _claim(claims: Mapping[str, Any], name: str, check: Callable[[Any], bool], form: str) -> Any:
    """A claim, None if it is missing. One that is there has to fit: null is no value."""
    if name not in claims:
        return None
    value = claims[name]
    if not check(value):
        raise BadClaims(f"The ticket's {name} claim is not {form}.")
    return value


def _number(claims: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    def fits(value: Any) -> bool:
        return type(value) in (int, float) and least <= value <= most  # which NaN is not

    value = _claim(claims, name, fits, f"a number from {least:g} to {most:.0f}")
    return None if value is None else float(value)


def _integer(claims: Mapping[str, Any], name: str, most: int) -> int | None:
    def fits(value: Any) -> bool:
        return type(value) is int and 1 <= value <= most

    return _claim(claims, name, fits, f"a whole number from 1 to {most}")  # type: ignore[no-any-return]


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    def fits(value: Any) -> bool:
        return isinstance(value, str) and 1 <= len(value) <= _MAX_TEXT and value.isprintable()

    return _claim(claims, name, fits, f"1 to {_MAX_TEXT} printable characters")  # type: ignore[no-any-return]


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and is_reference(value)


def _variants(claims: Mapping[str, Any], known: Collection[str]) -> tuple[str, ...] | None:
    """The names in `variants`, a list, or a text in which commas separate them."""
    value = claims.get("variants")
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",")]
    if value is None and "variants" not in claims:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise BadClaims("The ticket's variants claim is not a list of names.")
    for name in value:
        if name not in known:
            raise BadClaims(f"The ticket's variants claim names {name[:40]!r}, which is not made here.")
    return tuple(name for name in known if name in value)


def _single_use(claims: Mapping[str, Any]) -> str | None:
    """The `jti` of a ticket that is good for one upload."""
    jti = _text(claims, "jti")
    once = _claim(claims, "once", lambda value: isinstance(value, bool), "true or false")
    if once and jti is None:
        raise BadClaims("The ticket is to be used once, and has no jti claim by which to know it again.")
    return jti if once else None
