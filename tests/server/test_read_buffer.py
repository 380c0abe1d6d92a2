"""How much is read from a connection at a time."""

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from app.server.read_buffer import SMALL_READ, ReadBuffer

HEAD, PIECE = 4096, 256 * 1024


class Reader(asyncio.Protocol):
    """Reads `eagerly` or not, and is in a head for the first piece of all."""

    def __init__(self, *, eagerly: bool) -> None:
        self.in_head = True
        self.sizes: list[int] = []
        self.data = b""
        self.gone = asyncio.get_running_loop().create_future()
        self._eagerly = eagerly

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        read_buffer = ReadBuffer(self)  # type: ignore[arg-type]
        read_buffer.eager = self._eagerly
        transport.set_protocol(read_buffer)

    def data_received(self, data: bytes | memoryview) -> None:
        self.in_head = False
        self.sizes.append(len(data))
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set_result(exc)


async def read(sent: bytes, *, eagerly: bool) -> Reader:
    """What comes of bytes that are all there before the first is read."""
    here, there = socket.socketpair()
    with there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(sent))
        await asyncio.to_thread(there.sendall, sent)
        there.shutdown(socket.SHUT_WR)
        loop = asyncio.get_running_loop()
        _, reader = await loop.connect_accepted_socket(lambda: Reader(eagerly=eagerly), here)
        await reader.gone
    return reader


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("eagerly", "most"), [(False, SMALL_READ), (True, PIECE)])
def test_of_a_body_no_more_is_read_than_is_wanted(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    eagerly: bool,
    most: int,
) -> None:
    """A head's piece first, then tastes or large pieces; every byte comes, in order, and then the end."""
    sent = bytes(range(256)) * 512
    with asyncio.Runner(loop_factory=new_loop) as runner:
        reader = runner.run(read(sent, eagerly=eagerly))
    assert reader.data == sent
    assert reader.sizes[0] == HEAD
    assert max(reader.sizes[1:]) <= most
    assert eagerly == (max(reader.sizes) > SMALL_READ)
