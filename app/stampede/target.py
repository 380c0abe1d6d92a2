"""The server that a stampede is aimed at, never a public one, and the addresses that clients can have."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

_ALLOWED = [
    ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
]
_ADDRESSES_PER_ACT = 1000
"""Loopback addresses of one act: so many that no client needs more tokens than its bucket has."""


class BadTarget(Exception):
    """Raised when a URL leads to nothing that a stampede can, or may, be aimed at."""


def may_be_flooded(address: str) -> bool:
    """Whether an IP address is loopback (RFC 1122), private (RFC 1918, RFC 4193) or link-local."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip.version == network.version and ip in network for network in _ALLOWED)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: an address that was looked up once, so that its name cannot lead elsewhere later."""

    authority: str
    """Host and port as in the URL, for the Host field."""
    family: socket.AddressFamily
    address: tuple[str, int] | tuple[str, int, int, int]

    @property
    def has_many_addresses(self) -> bool:
        """Whether each client can have its own address: all of 127.0.0.0/8 has to belong to this machine."""
        return self.address[0].startswith("127.") and _can_bind("127.77.255.254")

    def sources(self, act: int) -> list[str | None]:
        """Addresses for the clients of the act with this number; `[None]` leaves the choice to the system."""
        if not self.has_many_addresses:
            return [None]
        return [source_address(act, number) for number in range(_ADDRESSES_PER_ACT)]


def source_address(act: int, number: int) -> str:
    """The loopback address of the client with this number, in the act with that one."""
    return f"127.{77 + act}.{number // 250}.{1 + number % 250}"


def _can_bind(address: str) -> bool:
    with socket.socket(socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def resolve(url: str) -> list[Target]:
    """Every address behind an `http://` URL, in the resolver's order.

    Raises:
        BadTarget: the URL cannot be used, its host is unknown, or one of its addresses is public.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise BadTarget(f"{url} is no URL: {error}") from None
    if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query:
        raise BadTarget(f"{url} is not of the form http://HOST:PORT")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BadTarget(f"{host} has no address: {getattr(error, 'strerror', None) or error}") from None
    targets = []
    for family, _, _, _, address in found:
        name = str(address[0])
        if not may_be_flooded(name):
            shown = host if host == name else f"{host} ({name})"
            raise BadTarget(f"{shown} is neither loopback nor private: a stampede is for one's own machines")
        targets.append(Target(parts.netloc.rpartition("@")[2], family, address))  # type: ignore[arg-type]
    return targets
