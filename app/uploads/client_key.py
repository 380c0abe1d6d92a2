"""Who a request comes from: one client is an IPv4 address or an IPv6 network."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice

import structlog
from fastapi import Request
from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

log = structlog.get_logger(__name__)

_FORWARDING = (b"x-forwarded-for", b"forwarded")
_MAX_HOPS = 32
"""Entries of a forwarding header that are looked at, from the right."""
_MAX_ELEMENT = 1024
"""Characters of one element of a Forwarded field."""
_MAX_COMMAS = 64
"""Commas of a Forwarded field that are looked at, from the right."""
_SITE_PREFIX_BITS = {4: 24, 6: 48}
"""Bits that the addresses of one site usually share, by IP version (RFC 6177 for IPv6)."""


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


_PAIR = r"""([!#$%&'*+.^_`|~0-9A-Za-z-]++)[ \t]*+=[ \t]*+("(?:[^"\\]|\\.)*+"|[^\s",;]*+)"""
_PAIRS = re.compile(_PAIR)
_ELEMENT = re.compile(rf"[ \t;]*+(?:{_PAIR}[ \t]*+(?:;[ \t;]*+|$))*+")


def _forwarded_for(value: str) -> Iterator[str]:
    """The `for` nodes of a Forwarded field (RFC 7239) from the right, that is, the nearest proxy's first.

    An element that names none, or several, gives "". Obfuscated identifiers are given as they are.

    Elements are found from the right, because the left was written by the client: a quote that it leaves
    open must not swallow what the proxies append. A comma within a quoted string never ends an element, for
    what follows it has an odd number of quotes and is none. Where there is no element, it ends with "".
    """
    end = comma = len(value)
    for _ in range(_MAX_COMMAS):
        comma = value.rfind(",", max(0, end - _MAX_ELEMENT), comma)
        element = value[comma + 1 : end]
        if comma < 0 and end > _MAX_ELEMENT:
            break
        if _ELEMENT.fullmatch(element):
            nodes = [node for name, node in _PAIRS.findall(element) if name.lower() == "for"]
            if element.strip():
                yield nodes[0] if len(nodes) == 1 else ""
            end = comma
        if comma < 0:
            break
    yield ""


class ClientKey:
    """Finds the client of a request.

    It is the peer's own address, unless the peer is a trusted proxy. Then the forwarding header is walked
    from the right, past trusted proxies, to the first address that is not one of them. What stands left of
    that address was written by the client and is not believed.
    """

    def __init__(self, ipv6_prefix: int = 64, trusted_proxies: Sequence[Network] = ()) -> None:
        """IPv6 addresses that share the first `ipv6_prefix` bits are one client."""
        self._prefix = ipv6_prefix
        self._trusted = tuple(trusted_proxies)
        self._told: set[bool] = set()
        """Which peers the log has said are not believed: private ones, others, or both."""
        self._has_told_silence = False

    def __call__(self, peer: str | None, headers: Sequence[tuple[bytes, bytes]] = ()) -> str:
        """The client's key: `192.0.2.7`, or `2001:db8::/64`."""
        if peer is None:
            return "local"
        if not self._trusted and ":" not in peer and not self._is_news(headers):
            return peer  # a socket gives an IPv4 address in one form only, so it needs no parsing
        address = _parse(peer)
        if address is None:
            return peer
        if self._is_trusted(address):
            address = self._walk(address, headers)
        elif self._is_news(headers):
            self._tell(address)
        return self._key(address)

    def of(self, scope: Scope) -> str:
        """The key of the client behind a request."""
        peer = scope["client"]
        return self(peer[0] if peer else None, scope["headers"])

    def _is_news(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether there is a forwarding header, and the log may have to say that it is not believed."""
        return len(self._told) < 2 and any(name in _FORWARDING for name, _ in headers)

    def _tell(self, peer: Address) -> None:
        """Log that a header is not believed: once for a peer with a private address and once for others."""
        if peer.is_private not in self._told:
            self._told.add(peer.is_private)
            log.warning(
                "a request says whom it is forwarded for, but its peer is no trusted proxy: if it is a proxy "
                f"of yours, set SPILLWAY_TRUSTED_PROXIES={peer}, or all of its users are one client",
                peer=str(peer),
            )

    def _is_trusted(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)

    def _walk(self, peer: Address, headers: Sequence[tuple[bytes, bytes]]) -> Address:
        common = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        standard = [value.decode("latin-1") for name, value in headers if name == b"forwarded"]
        chains: list[Iterable[str]] = []
        if common:
            chains.append(reversed(",".join(common).rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]))
        if standard:
            chains.append(islice(_forwarded_for(",".join(standard)), _MAX_HOPS))
        if not chains and not self._has_told_silence:
            self._has_told_silence = True
            log.warning(
                "a proxy in SPILLWAY_TRUSTED_PROXIES does not say whom it forwards a request for: unless it "
                "came from its own machine, all of its users are one client",
                peer=str(peer),
            )
        found = {self._first_untrusted(peer, chain) for chain in chains}
        # A proxy that writes one of the headers passes the other through as the client sent it. If the two
        # disagree, the client forged one, and the request counts against the proxy's own address.
        return found.pop() if len(found) == 1 else peer

    def _first_untrusted(self, peer: Address, chain: Iterable[str]) -> Address:
        """The first address from the right that is no trusted proxy; `chain` begins at the right."""
        address = peer
        for node in chain:
            earlier = _parse(node)
            if earlier is None:
                break  # hidden or malformed: the proxy that reported it counts as the client
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


def net_of(client: str) -> str:
    """The wider network of a client, which may belong to a single party: the IPv4 /24 or the IPv6 /48.

    A client with a private address (RFC 6890) is a network of its own, since the operator knows who has one.
    """
    if ":" in client:
        return _site_of(client) or client
    return _site_of(f"{client.rpartition('.')[0]}.0/{_SITE_PREFIX_BITS[4]}") or client


@lru_cache(maxsize=4096)  # a flood comes from few networks
def _site_of(network: str) -> str | None:
    """The network of a site that a network belongs to; None for a private one, and for what is none."""
    try:
        found = ipaddress.ip_network(network, strict=False)
    except ValueError:
        return None
    if found.is_private:
        return None
    return str(found.supernet(new_prefix=min(found.prefixlen, _SITE_PREFIX_BITS[found.version])))
