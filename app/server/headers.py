"""The HTTP fields that Spillway reads and writes, each by its own specification."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.backpressure.token_bucket import Quota


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- RateLimit, RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10) ------------------------------


@dataclass(frozen=True, slots=True)
class ConcurrencyPolicy:
    """A bound on things at once (`"queue"`, `"share"`), told beside the client's own rate when it refused."""

    name: str
    quota: int
    reset_s: int


def ratelimit_fields(quota: Quota, extra: ConcurrencyPolicy | None = None) -> list[tuple[str, str]]:
    """RateLimit-Policy and RateLimit; the window and reset are whole seconds, rounded up."""
    policy = f'"ip";q={quota.limit};w={quota.window_s}'
    limit = f'"ip";r={quota.remaining};t={-(-quota.next_token_ms // 1000)}'
    if extra is not None:
        policy += f', "{extra.name}";q={extra.quota};qu="concurrent-requests"'
        limit += f', "{extra.name}";r=0;t={extra.reset_s}'
    return [("RateLimit-Policy", policy), ("RateLimit", limit)]


# --- Prefer (RFC 7240) ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prefer:
    """The preferences that Spillway knows: how long to wait (seconds), and how to handle a full queue."""

    wait: float | None = None
    handling: str | None = None


def parse_prefer(values: Sequence[str]) -> Prefer:
    """Read every Prefer field; the first of each preference counts, what is not understood is ignored."""
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
    """Raised when no byte of the representation lies in the range asked for."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the representation has {size} bytes")
        self.size = size


def parse_range(value: str | None, size: int) -> tuple[int, int] | None:
    """The first and last byte of the one range asked for, or None for the whole representation.

    Other units, several ranges and malformed values are ignored, as RFC 9110 section 14.2 allows.

    Raises:
        RangeNotSatisfiable: the range lies past the end.
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


def etag_matches(value: str | None, etag: str) -> bool:
    """Whether an If-None-Match field names this entity tag, by weak comparison."""
    if value is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in value.split(",")]
    return "*" in tags or etag in tags


# --- Authorization (RFC 6750) ---------------------------------------------------------------------------


def bearer_token(value: str | None) -> str | None:
    """The token of `Authorization: Bearer …`, or None."""
    scheme, _, token = (value or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


# --- Content-Type, Content-Length -----------------------------------------------------------------------


def media_type(value: str | None) -> str:
    """The type and subtype in lower case, without parameters."""
    return (value or "").partition(";")[0].strip().lower()


def accepts_html(value: str | None) -> bool:
    """Whether a reader prefers a page to JSON: text/html is named, as browsers do."""
    return "text/html" in (value or "")
