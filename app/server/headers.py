"""Reads and writes HTTP header fields, each as its specification says.

Fields come from strangers and may have 32 KiB, so lists are read up to a bound, and the regular expressions
never go back over what they have read (possessive quantifiers).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.backpressure.token_bucket import Quota, ceil_div


def timestamp(seconds: float) -> str:
    """A date and time of RFC 3339, in UTC with milliseconds, from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- lists (RFC 9110, section 5.6) ----------------------------------------------------------------------

MAX_LIST_ELEMENTS = 64
"""Elements of a list that are read, over all lines of the field; those behind them are ignored."""

_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]++"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_ELEMENT = re.compile(rf'(?:[^",]++|{_QUOTED}|".*+)*+', re.DOTALL)
_PREFERENCE = re.compile(rf"\s*+({_WORD})\s*+(?:=\s*+({_WORD}|{_QUOTED})?\s*+)?(?:;.*+)?", re.DOTALL)
_CODING = re.compile(rf"\s*+({_WORD})\s*+(?:;\s*+[qQ]=(0(?:\.[0-9]{{0,3}})?|1(?:\.0{{0,3}})?)\s*+)?")


def split_list(lines: Iterable[str]) -> list[str]:
    """The elements of a field that is a list, over all its lines, without those that are empty.

    A comma within a quoted string separates nothing. A string without its second quote goes on to the end of
    its line.
    """
    elements: list[str] = []
    left = MAX_LIST_ELEMENTS
    for line in lines:
        if '"' not in line:
            found = line.split(",", left)[:left]
        else:
            found = []
            at = 0
            while at <= len(line) and len(found) < left:
                match = _ELEMENT.match(line, at)
                assert match is not None  # noqa: S101 - it matches the empty string
                found.append(match[0])
                at = match.end() + 1
        elements += found
        left -= len(found)
        if not left:
            break
    return [stripped for element in elements if (stripped := element.strip(" \t"))]


def unquote(value: str) -> str:
    """A quoted string without its quotes and backslashes; any other value as it is."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    return value


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
    policy = f'"{quota.policy}";q={quota.limit};w={quota.window_s}'
    limit = f'"{quota.policy}";r={quota.remaining};t={ceil_div(quota.next_token_ms, 1000)}'
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
    for element in split_list(values):
        preference = _PREFERENCE.fullmatch(element)
        if preference is not None:
            found.setdefault(preference[1].lower(), unquote(preference[2] or ""))
    wait = found.get("wait", "")
    handling = found.get("handling", "").lower()
    return Prefer(
        wait=float(wait) if re.fullmatch(r"[0-9]{1,9}", wait) else None,
        handling=handling if handling in {"lenient", "strict"} else None,
    )


# --- Accept-Encoding (RFC 9110, section 12.5.3) ---------------------------------------------------------


def accepts_gzip(lines: Iterable[str]) -> bool:
    """Whether the client takes gzip: by that name with a weight above zero, else by an asterisk with one."""
    weights: dict[str, float] = {}
    for element in split_list(lines):
        coding = _CODING.fullmatch(element)
        if coding is not None:
            weights.setdefault(coding[1].lower().removeprefix("x-"), float(coding[2] or 1))
    return weights.get("gzip", weights.get("*", 0)) > 0


# --- Range, If-Match, If-None-Match (RFC 9110) ----------------------------------------------------------


_RANGE = re.compile(r"\s*+bytes\s*+=\s*+([0-9]{0,18}+)\s*+-\s*+([0-9]{0,18}+)\s*+", re.IGNORECASE)


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
    match = _RANGE.fullmatch(value or "")
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


def matches_weakly(lines: Iterable[str], *etags: str) -> bool:
    """Whether an If-None-Match field names one of these entity tags; a weak tag counts as its strong one."""
    named = {tag.removeprefix("W/") for tag in split_list(lines)}
    return "*" in named or not named.isdisjoint(etags)


def matches_strongly(lines: Iterable[str], *etags: str) -> bool:
    """Whether an If-Match field names one of these entity tags; a weak tag equals none."""
    named = set(split_list(lines))
    return "*" in named or not named.isdisjoint(etags)


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
