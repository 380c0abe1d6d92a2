"""The socket that the server listens on."""

import socket
from contextlib import ExitStack

BACKLOG = 2048
"""Connections that the kernel keeps until they are accepted (listen(2))."""
_RECEIVE_BUFFER = 4 * 2**20
"""Bytes of an unread body that the kernel may hold, for each connection."""


class AddressTaken(Exception):
    """Raised when the address cannot be listened on; its message is one line for the operator."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known before anything is started.

    Raises:
        AddressTaken: the host is unknown or not this machine's, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as on_error:
            listener = on_error.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _enlarge_receive_buffer(listener)
            listener.bind(address)
            listener.listen(BACKLOG)
            on_error.pop_all()
    except OSError as error:
        raise AddressTaken(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    return listener


def local_url(host: str, port: int) -> str:
    """The URL at which a server that listens on `host` is reached from its own machine.

    A wildcard address becomes the loopback address of the same family.
    """
    if host == "0.0.0.0":  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _enlarge_receive_buffer(listener: socket.socket) -> None:
    """Let the kernel take a whole small body, so that a refused client gets to reading without our help.

    Connections inherit the size. Setting one turns off the kernel's own tuning (tcp(7)), which starts small
    but may grow beyond `net.core.rmem_max`; where that maximum is smaller than our size, the tuning is left
    on. Memory is used only for bytes that are there, and `net.ipv4.tcp_mem` bounds it for all connections.
    """
    with socket.socket(listener.family, listener.type) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= _RECEIVE_BUFFER:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
