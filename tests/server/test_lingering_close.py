"""Lingering close: bounded in descriptors, in all and for each address."""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.server.lingering_close import LingeringClose

pytestmark = pytest.mark.anyio

ANSWER = b"refused"


def descriptors() -> int:
    """Open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Refused:
    """A client that was answered, and may still send."""

    def __init__(self, ours: socket.socket, transport: asyncio.Transport) -> None:
        self.socket = ours
        self.transport = transport

    @classmethod
    async def of(cls, stack: ExitStack) -> "Refused":
        """A connection on which the whole answer has been written."""
        here, there = socket.socketpair()
        stack.enter_context(here)
        here.setblocking(False)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, there)
        transport.write(ANSWER)
        return cls(here, transport)

    def send(self) -> None:
        """Send a piece of the body."""
        self.socket.send(bytes(10_000))

    def read(self) -> bytes:
        """The answer, once more has been sent."""
        return self.socket.recv(100)


async def linger(closing: LingeringClose, peers: list[str], stack: ExitStack) -> list[Refused]:
    """Connections of these addresses, handed over."""
    clients = [await Refused.of(stack) for _ in peers]
    for client, peer in zip(clients, peers, strict=True):
        closing.add(client.transport, peer)
    await asyncio.sleep(0.1)
    return clients


async def test_a_client_that_still_sends_reads_its_answer() -> None:
    """What it sends is read; when it has seen the end, the connection ends."""
    with ExitStack() as stack:
        [client] = await linger(LingeringClose(2**20, 10), ["a"], stack)
        for _ in range(10):
            client.send()
            await asyncio.sleep(0.1)
        assert client.read() == ANSWER
        assert client.read() == b""
        client.socket.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.1)
        assert client.transport.is_closing()


async def test_lingering_takes_no_descriptor_of_its_own() -> None:
    """As many files are open as there are connections, and all are closed in the end."""
    with ExitStack() as stack:
        before = descriptors()
        clients = [await Refused.of(stack) for _ in range(8)]
        opened = descriptors()
        closing = LingeringClose(2**20, 100)
        for client in clients:
            closing.add(client.transport, "a")
        await asyncio.sleep(0.1)
        assert descriptors() == opened
        assert not any(client.transport.is_closing() for client in clients)
        await asyncio.sleep(20)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("peers", "lingering"),
    [(["a"] * 20, 4), (["a"] * 10 + ["b"] * 10, 8), ([str(number) for number in range(40)], 16)],
    ids=["one address", "two", "many"],
)
async def test_so_many_linger_and_the_others_are_closed_at_once(peers: list[str], lingering: int) -> None:
    """A quarter of all may be of one address; when they have ended, others may linger."""
    with ExitStack() as stack:
        closing = LingeringClose(2**20, 16)
        for _ in range(2):
            clients = await linger(closing, peers, stack)
            assert sum(not client.transport.is_closing() for client in clients) == lingering
            await asyncio.sleep(20)
            assert all(client.transport.is_closing() for client in clients)


async def test_a_connection_that_is_closed_meanwhile_is_let_alone() -> None:
    """Its descriptor may be another file by then."""
    with ExitStack() as stack:
        [client] = await linger(LingeringClose(2**20, 10), ["a"], stack)
        client.transport.abort()
        others = [await Refused.of(stack) for _ in range(3)]
        for other in others:
            other.send()
        await asyncio.sleep(1)
        assert not any(other.transport.is_closing() for other in others)
