"""What the endpoints may ask of the connection that a request arrived on.

`HttpConnection` puts itself into `scope["state"]["connection"]`. Another server, or a test client that calls
the application without a socket, does not; `connection_of` then gives a substitute, with which everything
works that does not need the socket.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import structlog
from starlette.types import Scope

log = structlog.get_logger(__name__)


class ClientConnection(Protocol):
    """The connection that one request arrived on."""

    fast_reading: bool
    """Whether the request's body is read in large pieces. It should be while somebody takes them at once."""

    def on_disconnect(self, callback: Callable[[], Any] | None) -> None:
        """Call back when the connection is lost, even if nobody reads from it then.

        There is one callback at a time; None removes it. If the connection is closing already, the call comes
        at once.
        """

    def treat_eof_as_disconnect(self) -> None:
        """End the request when its client shuts down its sending side, or at once if it has done so.

        Otherwise such a client still gets its answer. For an answer that may take as long as the client
        stays, this is the only sign that it has left.
        """


class NoConnection:
    """Stands in for the connection under a server that does not provide it.

    Disconnects are noticed only when the body is read or the answer sent, and the server decides how much it
    reads at a time.
    """

    def __init__(self) -> None:
        self.fast_reading = False

    def on_disconnect(self, callback: Callable[[], Any] | None) -> None:
        """Never calls back."""

    def treat_eof_as_disconnect(self) -> None:
        """Leaves the decision to the server."""


def connection_of(scope: Scope) -> ClientConnection:
    """The connection of a request, or the request's own substitute for it."""
    state = scope.setdefault("state", {})
    if "connection" not in state:
        _log_other_server()
        state["connection"] = NoConnection()
    connection: ClientConnection = state["connection"]
    return connection


@cache
def _log_other_server() -> None:
    """Log once for the process."""
    log.warning(
        "not under `spillway serve`, so these are off: early rejection, lingering close, deadlines for "
        "request heads and slow readers, the limit on connections"
    )
