"""How much is read from a connection at a time, where it does not gather large pieces."""

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from app.server.head_checks import UNKNOWN_LENGTH
from app.server.read_buffer import SMALL_READ, ReadBuffer

HEAD, PIECE = 4096, 256 * 1024


class Reader(asyncio.Protocol):
    """Reads a chunked body, fast or not, and is in a head until the first bytes have come."""

    body_left = UNKNOWN_LENGTH

    def __init__(self, *, fast: bool) -> None:
        self.in_head = True
        self.sizes: list[int] = []
        self.data = b""
        self.gone = asyncio.get_running_loop().create_future()
        self._fast = fast

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        read_buffer = ReadBuffer(self)  # type: ignore[arg-type]
        read_buffer.fast = self._fast
        transport.set_protocol(read_buffer)

    def data_received(self, data: bytes | memoryview) -> None:
        self.in_head = False
        self.sizes.append(len(data))
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set_result(exc)


async def read(sent: bytes, *, fast: bool) -> Reader:
    """A reader of bytes that were all there before the first was read."""
    here, there = socket.socketpair()
    with there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(sent))
        await asyncio.to_thread(there.sendall, sent)
        there.shutdown(socket.SHUT_WR)
        loop = asyncio.get_running_loop()
        _, reader = await loop.connect_accepted_socket(lambda: Reader(fast=fast), here)
        await reader.gone
    return reader


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("fast", "max_read"), [(False, SMALL_READ), (True, PIECE)])
def test_of_a_body_no_more_is_read_than_is_wanted(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    fast: bool,
    max_read: int,
) -> None:
    """First a small piece, then medium or large ones; every byte comes, in order, and then the end."""
    sent = bytes(range(256)) * 512
    with asyncio.Runner(loop_factory=new_loop) as runner:
        reader = runner.run(read(sent, fast=fast))
    assert reader.data == sent
    assert reader.sizes[0] == HEAD
    assert max(reader.sizes[1:]) <= max_read
    assert fast == (max(reader.sizes) > SMALL_READ)
