"""Who a request comes from: one client is an IPv4 address or an IPv6 network."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from fastapi import Request
from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MOST_HOPS = 32
_NET_BITS = {4: 24, 6: 48}
"""Bits that the addresses of one site share, as a rule (RFC 6177)."""


def _parse(text: str) -> Address | None:
    """An address as written in a socket name or a forwarding header, or None."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _forwarded_for(value: str) -> list[str]:
    """The `for` nodes of a Forwarded header (RFC 7239), left to right; obscure ones are kept as they are.

    An element without one is a hop that hides where it got the request from.
    """
    nodes: list[str] = []
    for element in value.split(","):
        if not element.strip():
            continue
        pairs = [pair.partition("=") for pair in element.split(";")]
        nodes += [node for name, _, node in pairs if name.strip().lower() == "for"] or [""]
    return nodes


class ClientKey:
    """Names the client of a request.

    The peer's own address, unless the peer is a trusted proxy: then the forwarding header is walked from
    the right, past trusted proxies, to the first address that no trusted proxy vouches for
    anything before. What stands left of it was written by the client and is not believed.
    """

    def __init__(self, ipv6_prefix: int = 64, trusted_proxies: Sequence[Network] = ()) -> None:
        self._prefix = ipv6_prefix
        self._trusted = tuple(trusted_proxies)

    def __call__(self, peer: str | None, headers: Sequence[tuple[bytes, bytes]] = ()) -> str:
        """The client's key: `192.0.2.7`, or `2001:db8::/64`."""
        if peer is None:
            return "local"
        if not self._trusted and ":" not in peer:
            return peer  # a socket names an IPv4 peer in one way only
        address = _parse(peer)
        if address is None:
            return peer
        if self._is_trusted(address):
            address = self._walk(address, headers)
        return self._key(address)

    def of(self, scope: Scope) -> str:
        """The key of the client behind a request."""
        peer = scope["client"]
        return self(peer[0] if peer else None, scope["headers"])

    def _is_trusted(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)

    def _walk(self, peer: Address, headers: Sequence[tuple[bytes, bytes]]) -> Address:
        common = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        standard = [value.decode("latin-1") for name, value in headers if name == b"forwarded"]
        chains = []
        if common:
            chains.append(",".join(common).split(","))
        if standard:
            chains.append(_forwarded_for(",".join(standard)))
        found = {self._first_untrusted(peer, chain) for chain in chains}
        # A proxy that writes one header hands the other through as the client sent it. Where the two
        # disagree one is forged, and whoever forged it shares the proxy's own bucket.
        return found.pop() if len(found) == 1 else peer

    def _first_untrusted(self, peer: Address, chain: Sequence[str]) -> Address:
        address = peer
        for node in chain[: -_MOST_HOPS - 1 : -1]:
            earlier = _parse(node)
            if earlier is None:
                break  # hidden or malformed: the last proxy that named itself answers for it
            address = earlier
            if not self._is_trusted(address):
                break
        return address

    def _key(self, address: Address) -> str:
        if isinstance(address, ipaddress.IPv4Address):
            return str(address)
        network = ipaddress.IPv6Network((address, self._prefix), strict=False)
        return str(network)


def client_of(request: Request) -> str:
    """The key of the client behind a request, by the application's own `ClientKey`."""
    client_key: ClientKey = request.app.state.client_key
    return client_key.of(request.scope)


@lru_cache(maxsize=4096)  # in a flood the same clients come again and again
def net_of(client: str) -> str:
    """The wider network of a client's key, which one party may own: of IPv4 the /24, of IPv6 the /48.

    A client of a private network (RFC 6890) is its own: whoever is there was let in by the operator.
    """
    try:
        network = ipaddress.ip_network(client, strict=False)
    except ValueError:
        return client
    if network.is_private:
        return client
    return str(network.supernet(new_prefix=min(network.prefixlen, _NET_BITS[network.version])))
