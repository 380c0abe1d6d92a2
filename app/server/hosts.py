"""Which hosts are served, by the Host fields of requests.

To a browser, a page elsewhere whose name is made to point to this server (DNS rebinding) is of the same
origin. It cannot change the Host field of its requests, though, which still has its own name.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.problems import ProblemError

_WITH_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


class Misdirected(ProblemError):
    """Raised when a request names a host that is not served."""

    slug = "misdirected"

    def __init__(self) -> None:
        super().__init__("This server does not serve the host that the request names.")


def host_of(value: str) -> str:
    """The host in a Host field, in lower case, without port and final dot; empty if there is none."""
    found = _WITH_PORT.fullmatch(value.strip().lower())
    return found[1].removesuffix(".") if found is not None else ""


def is_address(host: str) -> bool:
    """Whether a host is an IP address, to which no name can be made to point."""
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


class Hosts:
    """A set of hosts; `*.photos.example` stands for every name that ends in `.photos.example`."""

    def __init__(self, hosts: Iterable[str], *, any_address: bool = False) -> None:
        """The hosts are in lower case and without ports; with `any_address` every IP address is one, too."""
        names = set(hosts)
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))
        self._any_address = any_address
        self._names = frozenset(name for name in names if not name.startswith("*."))

    def __contains__(self, host: object) -> bool:
        if host in self._names:
            return True
        return isinstance(host, str) and (
            host.endswith(self._suffixes) or (self._any_address and is_address(host))
        )

    def serve(self, scope: Scope) -> bool:
        """Whether a request names one of these hosts, or none as HTTP/1.0 allows: no browser does that."""
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        return all(host_of(value) in self for value in named)


class HostCheck:
    """Answers requests that name other hosts than those that are served."""

    def __init__(self, app: ASGIApp, hosts: Hosts, answer: Callable[[Scope, ProblemError], Response]) -> None:
        self._app = app
        self._hosts = hosts
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._hosts.serve(scope):
            await self._answer(scope, Misdirected())(scope, receive, send)
        else:
            await self._app(scope, receive, send)
