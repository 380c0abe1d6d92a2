"""What a request head must satisfy beyond the parser's own checks: size, version, Host, framing, Upgrade."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

import httptools

from app.server.raw_response import field_line

MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_FIELDS = 256
MAX_TARGET_BYTES = 8 * 1024
"""RFC 9110, section 4.1, recommends at least 8000."""
UNKNOWN_LENGTH = 1 << 62
"""Stands for the length of a chunked body: more than any that is declared and accepted."""

_HOST = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*+(?::[0-9]*)?"
    rb"|\[(?:([0-9A-Fa-f:.]+)|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\](?::[0-9]*)?"
)
"""A Host field: a name, an IPv4 address or one of a later version in brackets, and a port (RFC 3986, 3.2)."""
_CODING = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]++)[ \t]*+(?:;.*+)?", re.DOTALL)
_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*+://([^/?#]*+)")
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*+([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
_SINGLE = frozenset({b"authorization", b"content-type", b"if-range", b"origin", b"range"})
"""Fields that have one value: whoever sends two has two recipients in mind."""

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields as the parser gives them, the names in lower case."""


class HeadRefused(Exception):
    """Raised for a head that is answered with the problem `slug`, after which the connection is closed."""

    def __init__(self, slug: str, detail: str) -> None:
        """`detail` is a sentence for the client."""
        super().__init__(detail)
        self.slug = slug
        self.detail = detail


def head_too_large(target_bytes: int = 0) -> HeadRefused:
    """The error for a head that passes one of the bounds, after so many bytes of its target."""
    if target_bytes > MAX_TARGET_BYTES:
        return HeadRefused("uri-too-long", f"The address is longer than {MAX_TARGET_BYTES} bytes.")
    detail = f"The headers are larger than {MAX_HEAD_BYTES} bytes, or more than {MAX_HEAD_FIELDS}."
    return HeadRefused("headers-too-large", detail)


def refusal_of(error: httptools.HttpParserError, head_received: int, target_bytes: int) -> HeadRefused:
    """What the parser's error means, after so many bytes of a head that is not complete.

    The parser wraps what one of its callbacks raised.
    """
    if isinstance(error.__context__, HeadRefused):
        return error.__context__
    if head_received > MAX_HEAD_BYTES:
        return head_too_large(target_bytes)
    return HeadRefused("bad-request", "This is not a valid HTTP request.")


def body_length(version: str, fields: Fields) -> int:
    """Bytes of the body behind a head, `UNKNOWN_LENGTH` if it is chunked.

    The parser has checked already that it is not framed in two ways (RFC 9112, section 6).

    Raises:
        HeadRefused: the version is neither 1.0 nor 1.1; Host is missing, repeated or malformed (RFC 9112,
            3.2); a field of one value has two; or the body has another transfer coding than chunked.
    """
    host = None
    hosts = length = 0
    codings = b""
    singles: dict[bytes, bytes] | None = None
    for name, value in fields:
        if name == b"host":
            host = value
            hosts += 1
        elif name == b"content-length":
            length = int(value)
        elif name in _SINGLE:
            if singles is None:
                singles = {name: value}
            elif singles.setdefault(name, value) != value:
                raise HeadRefused("bad-request", f"The field {name.decode()} comes twice, and differs.")
        elif name == b"transfer-encoding":
            codings += value + b","
    if version not in ("1.1", "1.0"):
        raise HeadRefused("bad-request", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if hosts > 1 or (host is None and version == "1.1"):
        raise HeadRefused("bad-request", "An HTTP/1.1 request names its Host once (RFC 9112, 3.2).")
    if host is not None and not _is_host(host):
        raise HeadRefused("bad-request", "The Host field is not a host (RFC 9110, 7.2).")
    if codings:
        _check_codings(version, codings[:-1])
        length = UNKNOWN_LENGTH
    return length


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    host = _HOST.fullmatch(value)
    if host is None or host[1] is None:
        return host is not None
    try:
        IPv6Address(host[1].decode())
    except AddressValueError:
        return False
    return True


def _check_codings(version: str, value: bytes) -> None:
    """Refuse a Transfer-Encoding other than chunked (RFC 9112, sections 6.1 and 6.3)."""
    if value.strip(b" \t").lower() == b"chunked" and version == "1.1":
        return
    named = [_CODING.fullmatch(each.strip(b" \t")) for each in value.split(b",")[:MAX_HEAD_FIELDS]]
    names = [each[1].lower() for each in named if each is not None]
    if len(names) < len(named) or b"chunked" in names[:-1] or version == "1.0":
        raise HeadRefused("bad-request", "Where the body ends is not clear from its Transfer-Encoding.")
    raise HeadRefused("unknown-coding", "The only transfer coding that is understood here is chunked.")


def host_from_target(target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """Replace Host by the host in a target that is a whole URL, as RFC 9112, section 3.2.2, wants it.

    Raises:
        HeadRefused: what the target names is not a host.
    """
    url = _URL.match(target)
    if url is None:
        return
    if not url[1] or not _is_host(url[1]):
        raise HeadRefused("bad-request", "The address names no host (RFC 9110, 4.2).")
    for number, (name, _) in enumerate(fields):
        if name == b"host":
            fields[number] = (name, url[1])


def origin_in(piece: memoryview) -> Fields:
    """The Origin field in a piece of a head that the parser did not get through."""
    found = _ORIGIN.search(piece)
    return [] if found is None else [(b"origin", found[1])]


def without_upgrade(method: bytes, target: bytes, version: str, fields: Fields) -> bytes:
    """The head without its Upgrade field: a server may ignore that wish (RFC 9110, section 7.8).

    Raises:
        HeadRefused: the method is CONNECT, with which only a proxy could do something.
    """
    if method == b"CONNECT":
        raise HeadRefused("bad-request", "This server is not a proxy.")
    line = b"%b %b HTTP/%b\r\n" % (method, target, version.encode())
    return line + b"".join(field_line(field) for field in fields if field[0] != b"upgrade") + b"\r\n"
