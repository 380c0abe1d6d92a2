"""Reads and writes HTTP header fields, each as its specification says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.backpressure.token_bucket import Quota, ceil_div


def timestamp(seconds: float) -> str:
    """A date and time of RFC 3339, in UTC with milliseconds, from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- RateLimit, RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10) ------------------------------


@dataclass(frozen=True, slots=True)
class ConcurrencyPolicy:
    """A bound on uploads at the same time, named beside the rate limit when it refused one."""

    name: str
    """`queue` or `share`."""
    quota: int
    """The bound."""
    reset_s: int
    """Whole seconds until an upload should fit again."""


def ratelimit_fields(quota: Quota, extra: ConcurrencyPolicy | None = None) -> list[tuple[str, str]]:
    """RateLimit-Policy and RateLimit of a client, whose times are whole seconds, rounded up.

    `extra` is the bound that refused the request, if one did: nothing is left of it.
    """
    policy = f'"ip";q={quota.limit};w={quota.window_s}'
    limit = f'"ip";r={quota.remaining};t={ceil_div(quota.next_token_ms, 1000)}'
    if extra is not None:
        policy += f', "{extra.name}";q={extra.quota};qu="concurrent-requests"'
        limit += f', "{extra.name}";r=0;t={extra.reset_s}'
    return [("RateLimit-Policy", policy), ("RateLimit", limit)]


# --- Prefer (RFC 7240) ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prefer:
    """The preferences that are understood here."""

    wait: float | None = None
    """Seconds to wait for the result."""
    handling: str | None = None
    """`lenient` or `strict`."""


def parse_prefer(values: Sequence[str]) -> Prefer:
    """Read the values of all Prefer fields.

    Of a repeated preference the first counts. What is not understood is ignored.
    """
    found: dict[str, str] = {}
    for part in ",".join(values).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = found.get("wait", "")
    handling = found.get("handling", "").lower()
    return Prefer(
        wait=float(wait) if re.fullmatch(r"[0-9]{1,9}", wait) else None,
        handling=handling if handling in {"lenient", "strict"} else None,
    )


# --- Range, If-None-Match, If-Range (RFC 9110) ----------------------------------------------------------


class RangeNotSatisfiable(Exception):
    """Raised when the range that was asked for contains no byte; `size` is that of the representation."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the representation has {size} bytes")
        self.size = size


def parse_range(value: str | None, size: int) -> tuple[int, int] | None:
    """The positions of the first and last byte of a Range field, or None for the whole representation.

    Other units, several ranges and malformed values are ignored, as RFC 9110, section 14.2, allows.

    Raises:
        RangeNotSatisfiable: the range begins past the end, or is empty.
    """
    match = re.fullmatch(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", value or "", re.IGNORECASE)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise RangeNotSatisfiable(size)
        return size - length, size - 1
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(size)
    return first, last


def etag_matches(value: str | None, *etags: str) -> bool:
    """Whether an If-None-Match field names one of these entity tags, by weak comparison."""
    if value is None:
        return False
    named = [tag.strip().removeprefix("W/") for tag in value.split(",")]
    return "*" in named or any(etag in named for etag in etags)


# --- Authorization (RFC 6750) ---------------------------------------------------------------------------


def bearer_token(value: str | None) -> str | None:
    """The token of an Authorization field with the scheme Bearer; None if there is none."""
    scheme, _, token = (value or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token.strip() or None


# --- Content-Type -----------------------------------------------------------------------


def media_type(value: str | None) -> str:
    """The type and subtype of a Content-Type field in lower case, without parameters."""
    return (value or "").partition(";")[0].strip().lower()
