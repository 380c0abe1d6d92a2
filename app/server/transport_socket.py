"""System calls on the socket of a transport, which has no method for them."""

import asyncio
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_HUNG_UP = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere only a reset is noticed


@contextmanager
def socket_of(transport: asyncio.Transport) -> Iterator[socket.socket]:
    """A socket object on the transport's own descriptor, which is not duplicated and not closed.

    It may be used only for what does not depend on the family of addresses, and only within the block: when
    the transport is closed, the descriptor may soon belong to another file.

    Raises:
        OSError: the transport is closed or has no socket.
    """
    own = transport.get_extra_info("socket")
    if own is None or transport.is_closing() or own.fileno() < 0:
        raise OSError("the transport has no open socket")
    borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=own.fileno())
    try:
        yield borrowed
    finally:
        borrowed.detach()


def peer_state(transport: asyncio.Transport) -> tuple[bool, bool]:
    """Whether the peer sends no more, and whether the connection is broken, though nobody reads (poll(2))."""
    poller = select.poll()
    poller.register(transport.get_extra_info("socket").fileno(), _HUNG_UP)
    events = sum(event for _, event in poller.poll(0))
    return bool(events & _HUNG_UP), bool(events & (select.POLLERR | select.POLLHUP))
