"""Who a request comes from, and who it only says it comes from."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.uploads.client_key import ClientKey, net_of
from tests.examples import examples

PROXY = "10.0.0.1"
PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]
behind_proxies = ClientKey(64, PROXIES)


def common(*values: str) -> list[tuple[bytes, bytes]]:
    """X-Forwarded-For fields, as ASGI hands them over."""
    return [(b"x-forwarded-for", value.encode("latin-1")) for value in values]


def standard(*values: str) -> list[tuple[bytes, bytes]]:
    """Forwarded fields, as ASGI hands them over."""
    return [(b"forwarded", value.encode("latin-1")) for value in values]


# --- the peer itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
@pytest.mark.parametrize("trusted", [(), tuple(PROXIES)])
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(peer: str, key: str, trusted: tuple[()]) -> None:
    """An IPv4 address counts alone, however the socket writes it; an IPv6 address by its network."""
    assert ClientKey(64, trusted)(peer) == key


@examples
@given(st.integers(16, 128), st.ip_addresses(v=6), st.integers(0, 2**128 - 1))
def test_all_of_one_ipv6_network_is_one_client(
    prefix: int, address: ipaddress.IPv6Address, noise: int
) -> None:
    """Whatever the bits after the prefix, the key is the same; with another network it is another."""
    host_bits = 128 - prefix
    neighbour = ipaddress.IPv6Address(int(address) >> host_bits << host_bits | noise & ((1 << host_bits) - 1))
    stranger = ipaddress.IPv6Address(int(address) ^ (1 << host_bits if host_bits < 128 else 0))
    if any(each.ipv4_mapped for each in (address, neighbour, stranger)):
        return
    key = ClientKey(prefix)
    assert key(str(address)) == key(str(neighbour))
    assert key(str(address)) != key(str(stranger))


def test_a_peer_without_an_address_has_a_name() -> None:
    """A Unix socket has no address; all of its clients are one."""
    assert ClientKey()(None) == "local"
    assert behind_proxies(None, common("203.0.113.9")) == "local"


def test_a_stranger_is_not_believed() -> None:
    """Forwarding headers from a peer that is no trusted proxy change nothing."""
    spoof = [*common("203.0.113.9"), *standard("for=203.0.113.9")]
    assert behind_proxies("192.0.2.7", spoof) == "192.0.2.7"
    assert ClientKey()("192.0.2.7", spoof) == "192.0.2.7"
    assert ClientKey()("2001:db8::7", spoof) == "2001:db8::/64"


# --- behind proxies -------------------------------------------------------------------------------------

SEEN = [
    ("203.0.113.9", "203.0.113.9"),
    ("203.0.113.9, 10.1.1.1, 10.2.2.2", "203.0.113.9"),
    ("1.2.3.4, 203.0.113.9", "203.0.113.9"),
    ("1.2.3.4, 10.9.9.9, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
    ("203.0.113.9:4711", "203.0.113.9"),
    ("2001:db8:5::1", "2001:db8:5::/64"),
    ("[2001:db8:5::1]", "2001:db8:5::/64"),
    ("[2001:db8:5::1]:4711", "2001:db8:5::/64"),
    ("::ffff:203.0.113.9", "203.0.113.9"),
    ("203.0.113.9, fd00::1", "203.0.113.9"),
    ("203.0.113.9, ::ffff:10.3.3.3", "203.0.113.9"),
    (" 203.0.113.9 ,\t10.1.1.1 ", "203.0.113.9"),
]


@pytest.mark.parametrize(("value", "key"), SEEN)
def test_x_forwarded_for_is_walked_from_the_right(value: str, key: str) -> None:
    """The client is the first address from the right that is no trusted proxy; the rest is hearsay."""
    assert behind_proxies(PROXY, common(value)) == key


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
        ("proto=https; for=203.0.113.9", "203.0.113.9"),
        ('for="203.0.113.9:4711"', "203.0.113.9"),
        ('for="[2001:db8:5::1]"', "2001:db8:5::/64"),
        ('for="[2001:db8:5::1]:4711", for=10.1.1.1', "2001:db8:5::/64"),
        ("for=1.2.3.4, for=203.0.113.9;by=10.0.0.9, for=10.1.1.1", "203.0.113.9"),
        ("for=203.0.113.9,", "203.0.113.9"),
        ('for=203.0.113.9;host="x,for=6.6.6.6"', "203.0.113.9"),
        ('for=203.0.113.9;host="x,for=6.6.6.6;a=";proto="https"', "203.0.113.9"),
        ('for=203.0.113.9;host="x\\",for=6.6.6.6;a=\\"b"', "203.0.113.9"),
        ('host="a,b;for=6.6.6.6,,";for="203.0.113.9:80" , for=10.1.1.1;by="x,y"', "203.0.113.9"),
        ('for=203.0.113.9;host="' + "," * 50 + '"', "203.0.113.9"),
    ],
)
def test_forwarded_is_walked_from_the_right(value: str, key: str) -> None:
    """The standard's field is read like the common one, with its quotes, brackets and ports."""
    assert behind_proxies(PROXY, standard(value)) == key


@pytest.mark.parametrize(
    "value",
    [
        'for=203.0.113.9;host="x',
        'for=203.0.113.9;host="x"y',
        "for=203.0.113.9 6.6.6.6",
        "for=6.6.6.6;for=203.0.113.9",
        "203.0.113.9",
        'for=203.0.113.9;host="' + "," * 20_000 + '"',
        'for=203.0.113.9;host="' + "x" * 20_000 + '"',
    ],
)
def test_a_malformed_element_names_nobody(value: str) -> None:
    """Then the proxy that sent it is the client, as if it had hidden whose request it is."""
    assert behind_proxies(PROXY, standard(value)) == PROXY
    assert behind_proxies(PROXY, standard(f"for=6.6.6.6, {value}")) == PROXY
    assert behind_proxies(PROXY, standard(f"{value}, for=10.1.1.1")) == "10.1.1.1"


_TEXT = st.text('abc,;="\\ \tfor6.', max_size=20)


@examples
@given(left=_TEXT, host=_TEXT)
def test_quoting_hides_everything_that_a_client_writes(left: str, host: str) -> None:
    """Whatever it sends as Forwarded and as Host: a proxy that quotes is believed, and nobody else."""
    quoted = host.replace("\\", "\\\\").replace('"', '\\"')
    mine = f'for=203.0.113.9;host="{quoted}";proto=https'
    assert behind_proxies(PROXY, standard(f"{left}, {mine}")) == "203.0.113.9"
    assert behind_proxies(PROXY, standard(left, mine)) == "203.0.113.9"


def test_several_fields_are_one_list() -> None:
    """A proxy may append a field instead of a value: the last field is the nearest."""
    assert behind_proxies(PROXY, common("1.2.3.4", "203.0.113.9", "10.1.1.1")) == "203.0.113.9"
    assert behind_proxies(PROXY, standard("for=1.2.3.4", "for=203.0.113.9")) == "203.0.113.9"


@pytest.mark.parametrize(
    "node", ["unknown", "_hidden", "_gazonk:42", "", "nonsense", "999.1.1.1", "1.2.3.4.5"]
)
def test_behind_a_hidden_node_its_proxy_is_the_client(node: str) -> None:
    """Past a hop that is hidden or malformed nothing is believed: the proxy that named it is the client."""
    assert behind_proxies(PROXY, common(f"203.0.113.9, {node}")) == PROXY
    assert behind_proxies(PROXY, common(f"203.0.113.9, {node}, 10.1.1.1")) == "10.1.1.1"
    assert behind_proxies(PROXY, standard(f"for=203.0.113.9, for={node}, for=10.1.1.1")) == "10.1.1.1"


def test_a_hop_that_names_no_client_hides_it() -> None:
    """An element of Forwarded without `for` stands for a hop all the same: what is left of it is hearsay."""
    assert behind_proxies(PROXY, standard("for=6.6.6.6, proto=https")) == PROXY
    assert behind_proxies(PROXY, standard("for=6.6.6.6, by=10.1.1.1, for=10.1.1.1")) == "10.1.1.1"


@pytest.mark.parametrize(
    "value", ['for="6.6.6.6', 'for="6.6.6.6;x="', 'x="', 'for="\\"', "for=6.6.6.6;for=7.7.7.7", "=,;=;,"]
)
def test_nothing_on_the_left_can_swallow_what_the_proxy_appends(value: str) -> None:
    """An open quote or other mischief of the client's does not reach over the proxy's own element."""
    assert behind_proxies(PROXY, standard(f"{value}, for=203.0.113.9")) == "203.0.113.9"
    assert behind_proxies(PROXY, standard(value, "for=203.0.113.9")) == "203.0.113.9"


def test_headers_that_disagree_are_both_disbelieved() -> None:
    """A client cannot pick its key by adding the header that its proxy does not write."""
    forged = [*common("203.0.113.9"), *standard("for=6.6.6.6")]
    assert behind_proxies(PROXY, forged) == PROXY
    agreeing = [*common("203.0.113.9"), *standard("for=203.0.113.9")]
    assert behind_proxies(PROXY, agreeing) == "203.0.113.9"


def test_a_chain_of_proxies_alone_is_the_farthest_of_them() -> None:
    """A request that began at a trusted proxy, such as its health check, is that proxy's own."""
    assert behind_proxies(PROXY, common("10.3.3.3, 10.2.2.2")) == "10.3.3.3"
    assert behind_proxies(PROXY) == PROXY


def test_an_endless_chain_is_cut() -> None:
    """Only so many hops are walked, however long a header is."""
    assert behind_proxies(PROXY, common(", ".join(["203.0.113.9"] + ["10.1.1.1"] * 40))) == "10.1.1.1"


@examples
@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=20), max_size=8))
def test_no_header_breaks_it_nor_reaches_past_the_proxy(values: list[str]) -> None:
    """Whatever the client writes, the answer is the address that its own proxy appended."""
    assert behind_proxies(PROXY, common(*values, "203.0.113.9")) == "203.0.113.9"
    assert behind_proxies(PROXY, standard(*values, "for=203.0.113.9")) == "203.0.113.9"
    assert behind_proxies(PROXY, [*common(*values), *standard(*values)])


@pytest.mark.parametrize(
    ("client", "net"),
    [
        ("8.8.4.7", "8.8.4.0/24"),
        ("2a00:1450:1:2::/64", "2a00:1450:1::/48"),
        ("2a00:1450::/32", "2a00:1450::/32"),
        ("local", "local"),
        ("127.0.0.7", "127.0.0.7"),
        ("10.1.2.3", "10.1.2.3"),
        ("fd00:1:2:3::/64", "fd00:1:2:3::/64"),
    ],
)
def test_the_network_of_a_client_is_that_of_its_site(client: str, net: str) -> None:
    """The /24 of an IPv4 address, the /48 of an IPv6 network; of what is wider or private, that itself."""
    assert net_of(client) == net


# --- what the log says ----------------------------------------------------------------------------------


def test_a_header_that_is_not_believed_is_logged_once_with_the_setting_that_it_wants() -> None:
    """Once for peers with private addresses, once for others: a stranger's header hides no proxy's."""
    client_key = ClientKey(64, PROXIES)
    unset = ClientKey(64)
    with capture_logs() as lines:
        for _ in range(3):
            for header in (common("192.0.2.7"), standard("for=192.0.2.7")):
                assert client_key("8.8.8.8", header) == "8.8.8.8"
                client_key("192.168.0.9", header)
                client_key(PROXY, header)
                assert unset(PROXY, header) == PROXY
                unset(PROXY)
    assert [line["peer"] for line in lines] == ["8.8.8.8", "192.168.0.9", PROXY]
    assert f"SPILLWAY_TRUSTED_PROXIES={PROXY}" in lines[-1]["event"]


def test_a_proxy_that_names_no_client_is_logged_once() -> None:
    """Its users would be one client, which looks like a service that is full."""
    client_key = ClientKey(64, PROXIES)
    with capture_logs() as lines:
        for _ in range(3):
            client_key("8.8.8.8")
            client_key(PROXY, common("192.0.2.7"))
            assert client_key(PROXY) == PROXY
    assert [line["peer"] for line in lines] == [PROXY]
