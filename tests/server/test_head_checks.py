"""What a request head must satisfy beyond the parser's own checks."""

import pytest

from app.server.head_checks import UNKNOWN_LENGTH, HeadRefused, body_length, host_from_target, without_upgrade

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
        ("1.1", [HOST, (b"transfer-encoding", b" Chunked ")], UNKNOWN_LENGTH),
        ("1.1", [HOST, (b"content-type", b"a/b"), (b"content-type", b"a/b")], 0),
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


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a",
        b"a.b-c_d~",
        b"A:80",
        b"a:",
        b"192.0.2.1:8000",
        b"[::1]",
        b"[2001:db8::7]:443",
        b"[v7.a:b]",
        b"%41b",
        b"xn--bcher-kva.example",
        b"a!$&'()*+,;=b",
    ],
    ids=str,
)
def test_a_host_is_a_name_or_an_address(host: bytes) -> None:
    """As RFC 3986 has it, with a port or without."""
    assert body_length("1.1", [(b"host", host)]) == 0


@pytest.mark.parametrize(
    "host",
    [
        b"a b",
        b"a b/@<>",
        b"a/b",
        b"user@a",
        b"<a>",
        b"a:b",
        b"a:80:80",
        b"::1",
        b"[::1",
        b"[]",
        b"[1.2.3.4]",
        b"[::1%eth0]",
        b"[::1]x",
        b"a\\b",
        b"%4",
        b"%zz",
        b"\xe9",
        b'"a"',
        b"a?b",
        b"a#b",
        b"http://a",
        b"a\tb",
        b"{a}",
    ],
    ids=str,
)
def test_what_is_no_host_is_refused(host: bytes) -> None:
    """Whoever takes it for a name may be led elsewhere."""
    with pytest.raises(HeadRefused, match="Host"):
        body_length("1.1", [(b"host", host)])


@pytest.mark.parametrize(
    ("values", "slug"),
    [
        ([b"gzip, chunked"], "unknown-coding"),
        ([b"gzip", b"chunked"], "unknown-coding"),
        ([b"gzip"], "unknown-coding"),
        ([b"identity"], "unknown-coding"),
        ([b"deflate;q=1, chunked"], "unknown-coding"),
        ([b"chunked;a=b"], "unknown-coding"),
        ([b"chunked, gzip"], "bad-request"),
        ([b"chunked, chunked"], "bad-request"),
        ([b"chunked", b"chunked"], "bad-request"),
        ([b""], "bad-request"),
        ([b",chunked"], "bad-request"),
        ([b"\x0bchunked"], "bad-request"),
        ([b'"chunked"'], "bad-request"),
    ],
    ids=str,
)
def test_a_body_is_chunked_and_nothing_else(values: list[bytes], slug: str) -> None:
    """Another coding is not understood; and one that leaves open where the body ends is an error."""
    with pytest.raises(HeadRefused) as refused:
        body_length("1.1", [HOST, *((b"transfer-encoding", value) for value in values)])
    assert refused.value.slug == slug


def test_old_http_has_no_transfer_codings() -> None:
    """A body of HTTP/1.0 that has one ends somewhere else for a recipient that does not know them."""
    with pytest.raises(HeadRefused) as refused:
        body_length("1.0", [(b"transfer-encoding", b"chunked")])
    assert refused.value.slug == "bad-request"


@pytest.mark.parametrize("name", [b"content-type", b"authorization", b"origin", b"range"])
def test_two_values_of_a_field_that_has_one_are_refused(name: bytes) -> None:
    """Who reads the first and who reads the last would see two requests."""
    with pytest.raises(HeadRefused, match=name.decode()):
        body_length("1.1", [HOST, (name, b"a"), (name, b"b")])


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://b/x", b"b"),
        (b"HTTP://b.example:80?x", b"b.example:80"),
        (b"http://[::1]:8000", b"[::1]:8000"),
        (b"/http://b/x", b"a"),
        (b"*", b"a"),
    ],
    ids=str,
)
def test_a_target_that_is_a_url_names_the_host(target: bytes, host: bytes) -> None:
    """Whatever the Host field says (RFC 9112, 3.2.2)."""
    fields = [(b"accept", b"*/*"), HOST]
    host_from_target(target, fields)
    assert fields == [(b"accept", b"*/*"), (b"host", host)]


@pytest.mark.parametrize(
    "target", [b"http:///x", b"http://u@b/", b"http://b:c/", b"http://[b]/", b"http://<b>/"], ids=str
)
def test_a_url_without_a_host_is_refused(target: bytes) -> None:
    """Or with one that is none, or with a user before it."""
    with pytest.raises(HeadRefused, match="host"):
        host_from_target(target, [HOST])


def test_a_wish_to_upgrade_is_taken_out() -> None:
    """The rest of the head stays as it came."""
    fields = [HOST, (b"upgrade", b"h2c"), (b"connection", b"Upgrade"), (b"accept", b"*/*")]
    head = without_upgrade(b"GET", b"/a?b", "1.1", fields)
    assert head == b"GET /a?b HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\naccept: */*\r\n\r\n"


def test_connect_is_refused() -> None:
    """It asks for a tunnel, and the head without Upgrade would still ask for it."""
    with pytest.raises(HeadRefused, match="proxy"):
        without_upgrade(b"CONNECT", b"a:443", "1.1", [HOST])
