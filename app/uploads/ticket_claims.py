"""What a ticket allows, read from the claims of a JWT whose signature has been checked (RFC 7519).

Claims are read strictly. A mistake of the issuer gets a sentence that names the claim, and is never taken for
something near it: `true` is no number, `"5"` is none either.
"""

import hashlib
from collections.abc import Callable, Collection
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
_MAX_TIME = 2.0**40
"""Seconds since the epoch: thousands of years ahead, and still exact in a double."""


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


@dataclass(frozen=True, slots=True)
class _Form:
    """What a claim has to be: a check, and the words for it."""

    fits: Callable[[Any], bool]
    words: str


def _number(least: float, most: float) -> _Form:
    def fits(value: Any) -> bool:
        return type(value) in (int, float) and least <= value <= most  # which NaN is not

    return _Form(fits, f"a number from {least:g} to {most:.0f}")


def _integer(most: int) -> _Form:
    return _Form(lambda value: type(value) is int and 1 <= value <= most, f"a whole number from 1 to {most}")


def _text(longest: int, is_fine: Callable[[str], bool] = str.isprintable) -> _Form:
    def fits(value: Any) -> bool:
        return (
            isinstance(value, str) and 1 <= len(value) <= longest and value.isprintable() and is_fine(value)
        )

    return _Form(fits, f"1 to {longest} printable characters")


def _is_names(value: Any) -> bool:
    """Whether this is a list of names, or a text in which commas separate them."""
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
    )


_CLAIMS = {
    "exp": _number(0, _MAX_TIME),
    "nbf": _number(0, _MAX_TIME),
    "iat": _number(0, _MAX_TIME),
    "sub": _text(255),
    "jti": _text(255),
    "once": _Form(lambda value: isinstance(value, bool), "true or false"),
    "rate": _number(0.001, 100_000),
    "burst": _integer(1_000_000),
    "share": _integer(200_000),
    "max_bytes": _integer(2**40),
    "variants": _Form(_is_names, "a list of names"),
    "reference": _text(128, is_reference),
}
"""The claims that mean something here, with the bounds of the settings; others are ignored.

All but exp may be missing, but null is no value."""


def read_claims(claims: Any, key: str, limits: TicketLimits, known_variants: Collection[str]) -> Ticket:
    """The ticket that these claims describe; `key` is the name of the key that signed them.

    Its times are not compared with the clock yet.

    Raises:
        BadClaims: a claim is missing, is not what it has to be, or names a variant that is not known here.
    """
    if not isinstance(claims, dict):
        raise BadClaims("The ticket's claims are not a JSON object.")
    for name, value in claims.items():
        form = _CLAIMS.get(name)
        if form is not None and not form.fits(value):
            raise BadClaims(f"The ticket's {name} claim is not {form.words}.")
    if "exp" not in claims:
        raise BadClaims("The ticket has no exp claim, which has to say when it expires.")
    if "aud" in claims:
        _check_audience(claims["aud"])
    get = claims.get
    rate, burst, sub, jti = get("rate"), get("burst"), get("sub"), get("jti")
    if get("once") and jti is None:
        raise BadClaims("The ticket is to be used once, and has no jti claim by which to know it again.")
    return Ticket(
        key=key,
        valid_from=max(get("nbf", 0), get("iat", 0)) - LEEWAY_S,
        valid_until=claims["exp"] + LEEWAY_S,
        limits=limits.of(rate, burst),
        bucket="" if rate is None and burst is None else f"{rate and float(rate)}/{burst}",
        client=None if sub is None else client_key(key, "sub", sub),
        share=get("share"),
        max_bytes=get("max_bytes"),
        variants=_variants(claims["variants"], known_variants) if "variants" in claims else None,
        reference=get("reference"),
        single_use=jti if get("once") else None,
    )


def _check_audience(audience: Any) -> None:
    """A token that names its audience is for that one alone; it may be signed by the same key."""
    if AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
        raise BadClaims(f'The ticket is for another audience (aud) than "{AUDIENCE}".')


def _variants(names: str | list[str], known: Collection[str]) -> tuple[str, ...]:
    """The variants of these names, in the order of the settings."""
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    for name in names:
        if name not in known:
            raise BadClaims(f"The ticket's variants claim names {name[:40]!r}, which is not made here.")
    return tuple(name for name in known if name in names)
