"""What a request head must satisfy beyond the parser's own checks: size, version, Host, framing, Upgrade."""

from collections.abc import Sequence

import httptools

from app.server.raw_response import field_line

MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_FIELDS = 256
UNKNOWN_LENGTH = 1 << 62
"""Stands for the length of a chunked body: more than any that is declared and accepted."""

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields as the parser gives them, the names in lower case."""


class HeadRefused(Exception):
    """Raised for a head that is answered with the problem `slug`, after which the connection is closed."""

    def __init__(self, slug: str, detail: str) -> None:
        """`detail` is a sentence for the client."""
        super().__init__(detail)
        self.slug = slug
        self.detail = detail


def head_too_large() -> HeadRefused:
    """The error for a head that passes one of the two bounds."""
    detail = f"The headers are larger than {MAX_HEAD_BYTES} bytes, or more than {MAX_HEAD_FIELDS}."
    return HeadRefused("headers-too-large", detail)


def refusal_of(error: httptools.HttpParserError, head_received: int) -> HeadRefused:
    """What the parser's error means, after so many bytes of a head that is not complete.

    The parser wraps what one of its callbacks raised.
    """
    if isinstance(error.__context__, HeadRefused):
        return error.__context__
    if head_received > MAX_HEAD_BYTES:
        return head_too_large()
    return HeadRefused("bad-request", "This is not a valid HTTP request.")


def body_length(version: str, fields: Fields) -> int:
    """Bytes of the body behind a head, `UNKNOWN_LENGTH` if it is chunked.

    The parser has checked already that the framing is unambiguous (RFC 9112, section 6).

    Raises:
        HeadRefused: the version is neither 1.0 nor 1.1, or Host is missing or repeated (RFC 9112, 3.2).
    """
    hosts = 0
    length = 0
    for name, value in fields:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            length = UNKNOWN_LENGTH
    if version not in ("1.1", "1.0"):
        raise HeadRefused("bad-request", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise HeadRefused("bad-request", "An HTTP/1.1 request names its Host once (RFC 9112, 3.2).")
    return length


def without_upgrade(method: bytes, target: bytes, version: str, fields: Fields) -> bytes:
    """The head without its Upgrade field: a server may ignore that wish (RFC 9110, section 7.8).

    Raises:
        HeadRefused: the method is CONNECT, with which only a proxy could do something.
    """
    if method == b"CONNECT":
        raise HeadRefused("bad-request", "This server is not a proxy.")
    line = b"%b %b HTTP/%b\r\n" % (method, target, version.encode())
    return line + b"".join(field_line(field) for field in fields if field[0] != b"upgrade") + b"\r\n"
