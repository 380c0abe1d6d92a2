"""What a request head must satisfy beyond the parser's own checks."""

import pytest

from app.server.head_checks import UNKNOWN_LENGTH, HeadRefused, body_length, without_upgrade

HOST = (b"host", b"a")


@pytest.mark.parametrize(
    ("version", "fields", "length"),
    [
        ("1.1", [HOST], 0),
        ("1.1", [(b"host", b"")], 0),
        ("1.1", [HOST, (b"content-length", b"12")], 12),
        ("1.1", [(b"transfer-encoding", b"chunked"), HOST], UNKNOWN_LENGTH),
        ("1.0", [], 0),
        ("1.0", [HOST, (b"content-length", b"3")], 3),
    ],
)
def test_a_good_head_tells_the_length_of_its_body(
    version: str, fields: list[tuple[bytes, bytes]], length: int
) -> None:
    """None, the declared one, or one that nobody knows."""
    assert body_length(version, fields) == length


@pytest.mark.parametrize(
    ("version", "fields", "named"),
    [
        ("1.1", [], "Host"),
        ("1.1", [HOST, HOST], "Host"),
        ("1.0", [HOST, HOST], "Host"),
        ("2.0", [HOST], "HTTP/1.1"),
        ("0.9", [HOST], "HTTP/1.1"),
    ],
)
def test_a_bad_head_is_refused(version: str, fields: list[tuple[bytes, bytes]], named: str) -> None:
    """With the reason."""
    with pytest.raises(HeadRefused, match=named) as refused:
        body_length(version, fields)
    assert refused.value.slug == "bad-request"


def test_a_wish_to_upgrade_is_taken_out() -> None:
    """The rest of the head stays as it came."""
    fields = [HOST, (b"upgrade", b"h2c"), (b"connection", b"Upgrade"), (b"accept", b"*/*")]
    head = without_upgrade(b"GET", b"/a?b", "1.1", fields)
    assert head == b"GET /a?b HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\naccept: */*\r\n\r\n"


def test_connect_is_refused() -> None:
    """It asks for a tunnel, and the head without Upgrade would still ask for it."""
    with pytest.raises(HeadRefused, match="proxy"):
        without_upgrade(b"CONNECT", b"a:443", "1.1", [HOST])
