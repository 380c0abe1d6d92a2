"""Which hosts are served, by the Host field of a request."""

import pytest

from app.server.hosts import Hosts, host_of, is_address

HOSTS = Hosts(["photos.example", "*.photos.example", "[::1]", "192.0.2.7"])


def scope(*values: str) -> dict[str, object]:
    """A request with these Host fields."""
    return {"headers": [(b"host", value.encode("latin-1")) for value in values]}


@pytest.mark.parametrize(
    "value",
    [
        "photos.example",
        "Photos.Example:8000",
        "photos.example.",
        "a.photos.example",
        "a.b.photos.example:1",
        "[::1]:8000",
        "192.0.2.7",
    ],
)
def test_a_host_that_is_listed_is_served(value: str) -> None:
    """In any case, with any port, or below a wildcard."""
    assert HOSTS.serve(scope(value))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "example",
        "otherphotos.example",
        "photos.example.evil",
        "[::2]",
        "192.0.2.70",
        "::1",
        "a:b:c",
        "*.photos.example@x",
    ],
)
def test_any_other_is_not(value: str) -> None:
    """A name that only looks alike, and what is no host."""
    assert not HOSTS.serve(scope(value))
    assert not HOSTS.serve(scope("photos.example", value))


def test_every_address_may_be_served_too() -> None:
    """No name can be made to point to one; names are still those that are listed."""
    hosts = Hosts(["photos.example"], any_address=True)
    assert all(hosts.serve(scope(value)) for value in ("10.0.0.7:9000", "[::1]", "photos.example"))
    assert not any(hosts.serve(scope(value)) for value in ("evil.example", "10.0.0.7.example", ""))


def test_a_request_without_a_host_is_served() -> None:
    """Only HTTP/1.0 has such, which no browser speaks; health checks do."""
    assert HOSTS.serve(scope())


@pytest.mark.parametrize(
    ("value", "host"),
    [("A.example:80", "a.example"), ("[2001:DB8::1]:80", "[2001:db8::1]"), ("[::1", ""), (":80", "")],
)
def test_the_host_is_what_stands_before_the_port(value: str, host: str) -> None:
    """In lower case; nothing if it is malformed."""
    assert host_of(value) == host


def test_addresses_are_told_from_names() -> None:
    """In brackets or not."""
    assert all(map(is_address, ("192.0.2.7", "[::1]", "::1")))
    assert not any(map(is_address, ("localhost", "", "1.2.3", "[a]", "127.0.0.1.example")))
